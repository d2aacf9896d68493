"""Addresses of registries."""

import pytest
from autocompress.deploy.registry.address import parse_registry, require_alias
from autocompress.errors import InputError


def test_each_kind_of_address_has_a_name():
    assert parse_registry("mlflow:digits").name == "digits"
    assert parse_registry("s3://bucket/models/digits/").name == "digits"
    folder = parse_registry("dir:/models/digits")
    assert (folder.kind, folder.name, folder.url) == ("folder", "digits", "file:///models/digits")


def test_a_folder_is_taken_from_where_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_registry("dir:models/digits").url == (tmp_path / "models/digits").as_uri()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("digits", "is no registry"),
        ("mlflow:", "is no registry"),
        ("mlflow:a/b", "must be letters"),
        ("dir:/models/two words", "must be letters"),
        ("ipfs9://a/b", "is no registry that is known"),
        ("simplecache::s3://a/b", "is no registry that is known"),
        ("s3://bucket", "has no name behind its bucket"),
    ],
)
def test_what_is_no_address_is_refused(text, words):
    with pytest.raises(InputError, match=words):
        parse_registry(text)


def test_an_address_with_a_password_is_refused_without_repeating_it():
    with pytest.raises(InputError, match="holds credentials") as refused:
        parse_registry("ftp://ann:hunter2hunter@host/models/digits")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("alias", ["", "v3", "latest", "a b", "../x"])
def test_an_alias_that_no_registry_takes_is_refused(alias):
    with pytest.raises(InputError, match="is no alias"):
        require_alias(alias)
