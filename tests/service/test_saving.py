"""A backup of a service that runs is put back elsewhere: jobs, users, the audit log, runs."""

import os
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from autocompress.cli.commands import app
from autocompress.errors import InputError
from autocompress.nightly.places import Places
from autocompress.results.run_directory import read_run, write_run
from autocompress.service.access.tokens import Access
from autocompress.service.client import Client
from autocompress.service.database.opened import open_database
from autocompress.service.database.tables import AuditEntry
from autocompress.service.order import Order
from autocompress.service.queue.jobs import Jobs, Listed
from autocompress.service.saving.archive import backup, restore
from autocompress.service.saving.files import Belongs
from autocompress.tests import postgres
from autocompress.tests.present import present
from autocompress.tests.results.sample_run import sample_run
from autocompress.tests.service.served import served
from safetensors.numpy import save_file
from sqlalchemy import delete, select
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner


@pytest.fixture(params=["sqlite", "postgresql"])
def addresses(request, monkeypatch):
    """The address of the service's database and of an empty one; None for SQLite."""
    if request.param == "sqlite":
        return None, None
    server = request.getfixturevalue("postgres_server")
    monkeypatch.setenv("PATH", f"{postgres.BINARIES}:{os.environ['PATH']}")
    return server.new_database(), server.new_database()


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "runs" / "s1" / "artifacts").mkdir(parents=True)
    (folder / "runs" / "s1" / "run.toml").touch()
    write_run(folder / "runs" / "s1", sample_run())
    (folder / "runs" / "s1" / "artifacts" / "large.onnx").write_bytes(bytes(2 << 20))
    (folder / "serve.toml").write_text("hosts = []\n")
    return folder


def of(data, **settings):
    return Belongs(**{"data": data, "nightly": {}, "uploads": True, **settings})


def test_what_is_saved_while_jobs_come_in_is_whole_when_it_is_put_back(addresses, data, tmp_path):
    database = open_database(addresses[0], data=data)
    token = Access(database).make("ana", "submit")
    caller = present(Access(database).by_token(token))
    jobs, ends = Jobs(database), threading.Event()
    first, _ = jobs.submit(Order(), caller, key=None, origin="h")

    def submit() -> None:
        while not ends.is_set():
            jobs.submit(Order(), caller, key=None, origin="h")

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        backup(of(data), addresses[0], tmp_path / "saved.tar.gz")
    finally:
        ends.set()
        thread.join()
    database.close()
    (tmp_path / "new").mkdir()
    restore(tmp_path / "saved.tar.gz", tmp_path / "new", addresses[1])
    again = open_database(addresses[1], data=tmp_path / "new")
    restored = Jobs(again).listed(Listed(limit=10_000), present(Access(again).by_token(token)))
    with again.reading() as session:
        audited = session.scalars(select(AuditEntry.subject)).all()
    assert first.id in {job.id for job in restored} and sorted(audited) == sorted(job.id for job in restored)
    with pytest.raises(DBAPIError, match="never changed"), again.writing() as session:
        session.execute(delete(AuditEntry))
    again.close()
    assert read_run(tmp_path / "new" / "runs" / "s1") == sample_run()
    assert not (tmp_path / "new" / "runs" / "s1" / "artifacts" / "large.onnx").exists()
    assert (tmp_path / "new" / "serve.toml").is_file()
    assert (tmp_path / "saved.tar.gz").stat().st_mode & 0o077 == 0


def test_an_archive_that_is_damaged_or_has_no_room_changes_nothing(data, tmp_path):
    open_database(None, data=data).close()
    archive = tmp_path / "saved.tar.gz"
    backup(of(data), None, archive)
    with pytest.raises(InputError, match=r"a service in .* already"):
        restore(archive, data, None)
    content = archive.read_bytes()
    for number, damaged in enumerate(
        (content[: len(content) // 2], content[:2000] + bytes(40) + content[2040:], b"nothing")
    ):
        archive.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            restore(archive, tmp_path / f"new{number}", None)
        assert not (tmp_path / f"new{number}" / "service.db").exists()
    with pytest.raises(InputError, match="There is no service"):
        backup(of(tmp_path / "nowhere"), None, archive)


def test_no_member_of_an_archive_leads_out_of_the_folder(tmp_path):
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz") as archive:
        (tmp_path / "x").write_text("x")
        archive.add(tmp_path / "x", arcname="../outside")
    with pytest.raises(InputError, match="no backup"):
        restore(evil, tmp_path / "new", None)
    assert not (tmp_path / "outside").exists()


@pytest.fixture
def with_nights(data):
    """The folder with an upload, and a nightly folder that has a deployed bundle."""
    open_database(None, data=data).close()
    (data / "weights" / "1").mkdir(parents=True)
    (data / "weights" / "1" / f"{'a' * 64}.onnx").write_bytes(os.urandom(2 << 20))
    (data / "weights" / "1" / ".x.part").write_bytes(b"half")
    (data / "nightly.toml").write_text('[model.digits]\ntask = "digits"\ntrials = 3\n')
    places = Places(folder=data / "nightly")
    for path, size in (
        (places.night("2026-11-29") / "night.json", 20),
        (places.run("2026-11-29", "digits") / "artifacts" / "large.onnx", 2 << 20),
        (places.versions("digits") / "2026-11-29-trial7" / "model.onnx", 2 << 20),
        (places.deployed / "digits.json", 20),
        (places.canaries / "lib.py", 20),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    places.link("digits").symlink_to(Path(".versions") / "digits" / "2026-11-29-trial7")
    return data


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("serv")
    }


def test_uploads_nights_and_deployed_bundles_are_put_back_as_they_were(with_nights, tmp_path):
    archive, new = tmp_path / "saved.tar.gz", tmp_path / "new"
    listed = {"team": with_nights / "nightly.toml", "away": tmp_path / "away.toml"}
    belongs = of(with_nights, nightly=listed)
    done = backup(belongs, None, archive)
    assert done.parts["uploads"] == (1, 2 << 20) and done.parts["nights"][0] == 4
    assert belongs.elsewhere() == [tmp_path / "away.toml"]
    restore(archive, new, None)
    before, after = files_of(with_nights), files_of(new)
    assert after == {name: before[name] for name in after}
    left_out = {name for name in set(before) - set(after) if not name.endswith("large.onnx")}
    assert left_out == {"weights/1/.x.part", "nightly/canary/lib.py"}
    assert (new / "nightly" / "deployed" / "digits").readlink() == Path(".versions/digits/2026-11-29-trial7")
    assert f"weights/1/{'a' * 64}.onnx" in after
    assert (new / "nightly" / "deployed" / "digits" / "model.onnx").is_file()


def test_uploads_are_left_out_where_that_is_wanted_and_sizes_are_said(with_nights, tmp_path):
    (with_nights / "serve.toml").write_text('[nightly.team]\nfile = "nightly.toml"\n')
    words = ["serve", "backup", str(tmp_path / "saved.tar.gz"), "--data", str(with_nights)]
    said = CliRunner().invoke(app, words).stdout
    assert "uploads: 2,048.0 KB before packing, number of files: 1" in said and "nights:" in said
    said = CliRunner().invoke(app, [*words, "--no-uploads"]).stdout
    assert "uploads:" not in said and "nights:" in said
    restored = CliRunner().invoke(app, ["serve", "restore", words[2], "--data", str(tmp_path / "new")])
    assert restored.exit_code == 0 and not (tmp_path / "new" / "weights").exists()


def test_a_restored_upload_is_the_one_of_its_user(tmp_path):
    (tmp_path / "data").mkdir()
    file = tmp_path / "w.safetensors"
    save_file({"w": np.arange(1000, dtype=np.float32)}, file)
    with served(tmp_path / "data") as site:
        token, other = site.token("ana"), site.token("eve")
        name = Client(site.url, token=token).upload(file)
        backup(of(tmp_path / "data"), None, tmp_path / "saved.tar.gz")
    restore(tmp_path / "saved.tar.gz", tmp_path / "new", None)
    with served(tmp_path / "new") as site:
        assert [one["name"] for one in site.ask("GET", "/v1/weights", token=token).json] == [name]
        assert site.ask("GET", "/v1/weights", token=other).json == []


@pytest.mark.parametrize("link", [{"../x": "y"}, {"x": "../../y"}, {"x": "/etc/passwd"}])
def test_no_link_of_an_archive_leads_out_of_the_folder(data, tmp_path, monkeypatch, link):
    open_database(None, data=data).close()
    monkeypatch.setattr(Belongs, "links", lambda _: link)
    backup(of(data), None, tmp_path / "saved.tar.gz")
    with pytest.raises(InputError, match="leads out of the folder"):
        restore(tmp_path / "saved.tar.gz", tmp_path / "new", None)
    assert not (tmp_path / "new" / "service.db").exists()
