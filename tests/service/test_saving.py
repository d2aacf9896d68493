"""A backup of a service that runs is put back elsewhere: jobs, users, the audit log, runs."""

import os
import tarfile
import threading

import pytest
from autocompress.errors import InputError
from autocompress.results.run_directory import read_run, write_run
from autocompress.service.access.tokens import Access
from autocompress.service.database.opened import open_database
from autocompress.service.database.tables import AuditEntry
from autocompress.service.order import Order
from autocompress.service.queue.jobs import Jobs, Listed
from autocompress.service.saving import backup, restore
from autocompress.tests import postgres
from autocompress.tests.present import present
from autocompress.tests.results.sample_run import sample_run
from sqlalchemy import delete, select
from sqlalchemy.exc import DBAPIError


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
        backup(data, addresses[0], tmp_path / "saved.tar.gz")
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
    backup(data, None, archive)
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
        backup(tmp_path / "nowhere", None, archive)


def test_no_member_of_an_archive_leads_out_of_the_folder(tmp_path):
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz") as archive:
        (tmp_path / "x").write_text("x")
        archive.add(tmp_path / "x", arcname="../outside")
    with pytest.raises(InputError, match="no backup"):
        restore(evil, tmp_path / "new", None)
    assert not (tmp_path / "outside").exists()
