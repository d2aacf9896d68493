"""What looks like a secret is kept out, and what does not look like one is not."""

import shlex

import pytest
from autocompress.text.secrets import (
    hide,
    is_secret,
    stored_arguments,
    stored_command,
    without_secrets,
)

# Random, and split so that no scanner takes this file for a leak.
HF, GITHUB, OPENAI = "hf_" + "AbCdEfGh" * 4, "ghp_" + "a1B2c3D4e5" * 4, "sk-" + "proj-a1B2c3D4e5f6G7h8"
AWS, JWT = "AKIA" + "IOSFODNN7EXAMPLE", "eyJhbGciOiJI" + ".eyJzdWIiOiIx" + ".SflKxwRJ_a-b"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"
BY_FORM = (
    HF,
    GITHUB,
    OPENAI,
    AWS,
    JWT,
    PEM,
    "xoxb" + "-1234567890-abc",
    "AIza" + "Sy_-abcdefghijklmnopqrstuvwxyz0123",
)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "token",
            "hf_token",
            "HF_TOKEN",
            "hfToken",
            "token2",
            "tokens",
            "password",
            "db_passwd",
            "passphrase",
        ),
        *("secret", "client_secret", "api_key", "apikey", "apiKey", "aws_secret_access_key", "access_key"),
        *("auth", "credentials", "ssh_key", "private_key", "cookie", "pwd"),
    ],
)
def test_an_argument_is_a_secret_by_its_name(name):
    assert is_secret(name, "swordfish") and stored_arguments({name: "swordfish"}) == {
        name: f"<kept out: {name}>"
    }


@pytest.mark.parametrize("value", BY_FORM, ids=lambda value: value[:6])
def test_an_argument_is_a_secret_by_the_form_of_its_value(value):
    assert is_secret("data", value)
    assert without_secrets(f"403 for {value} at x") == "403 for <kept out: secret> at x"


@pytest.mark.parametrize(
    "value", ["kX9vQ2mZ7pL4wR8tY3nB6", "q7Vb2Xz9LmP4tR8wKc3Yd6Nf", "0f1e2d3c4b5a69788796a5b4c3d2e1f0"]
)
def test_an_argument_is_a_secret_when_its_value_is_random(value):
    assert is_secret("access", value + "xK3" * (len(value) < 24))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", "../shared/data"),
        ("data", "/data/ImageNet2012/train"),
        ("data", "ImageNet2012ValidationSet1kCenterCrops"),
        ("weights", "ResNet50_Weights_IMAGENET1K_V2_distilled_again"),
        ("weights", "runs/a/artifacts/5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8.onnx"),
        ("sha256", "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"),
        ("revision", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("max_tokens", "128"),
        ("token_length", "64"),
        ("tokenizer", "bert-base-uncased"),
        ("author", "somebody"),
        ("model", "sk_resnet_features_block_conv1_with_a_long_name"),
        ("split", "validation"),
        ("seed", "12345678901234567890123456789012345678"),
        ("token", "env:HF_TOKEN"),
        ("token", ""),
    ],
)
def test_what_is_no_secret_is_stored(name, value):
    assert not is_secret(name, value) and stored_arguments({name: value}) == {name: value}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://me:hunter22@host/x failed", "GET https://<kept out: secret>@host/x failed"),
        ("s3://b/k?X-Amz-Signature=abc123&y=1", "s3://b/k?X-Amz-Signature=<kept out: secret>&y=1"),
        (
            "https://host/f?design=3&access_token=abc#top",
            "https://host/f?design=3&access_token=<kept out: secret>#top",
        ),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer <kept out: secret>"),
        ("jetson@user@host:22", "jetson@user@host:22"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
    ],
)
def test_only_the_secret_of_an_address_is_kept_out(text, expected):
    assert without_secrets(text) == expected


def test_a_command_line_is_stored_without_its_secrets():
    command = f"search t.py:make --task-arg token=swordfish --task-arg='api_key=x y' --out 'a b' {HF}"
    stored = stored_command(command)
    assert shlex.split(stored) == [
        *("search", "t.py:make", "--task-arg", "token=<kept out: token>"),
        *("--task-arg=api_key=<kept out: api_key>", "--out", "a b", "<kept out: secret>"),
    ]
    assert stored_command(stored) == stored


@pytest.mark.parametrize("command", ['search  t.py --out "a b"', "it's no command"])
def test_a_command_line_without_secrets_is_stored_as_it_is(command):
    assert stored_command(command) == command


def test_a_hidden_value_is_in_no_text_and_a_short_one_is_let_be(monkeypatch):
    monkeypatch.setattr("autocompress.text.secrets._hidden", set())
    hide("correct horse")
    hide("con")
    assert without_secrets("conv: no entry for 'correct horse'") == "conv: no entry for '<kept out: secret>'"


@pytest.mark.parametrize("option", ["--shape tokens=32:0.7,128:0.3", "--shape=tokens=128"])
def test_a_dimension_that_is_called_tokens_is_no_secret(option: str) -> None:
    command = f"autocompress search text.py:make {option} --task-arg"
    assert stored_command(f"{command} n=1") == f"{command} n=1"
    assert "hunter2" not in stored_command(f"{command} token=hunter2")
