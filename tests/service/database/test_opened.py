"""Both databases get the same tables, and keep what is written as a whole."""

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from autocompress.errors import InputError
from autocompress.service.access.audit import record
from autocompress.service.database import migrations
from autocompress.service.database.opened import open_database
from autocompress.service.database.tables import AuditEntry, Base, JobRow, User
from sqlalchemy import create_engine, delete, select, text, update
from sqlalchemy.exc import DBAPIError

OLD_JOB = """
INSERT INTO jobs (id, owner_id, order_digest, "order", task, target, labels, devices, priority, state, wanted,
created, attempt, crashes, message, progress, version)
VALUES ('a1', 1, 'd', '{"trials": 3}', 'digits', 'cpu', '["gpu"]', '["b:22"]', 0, 'queued', 'run', 1.0, 0, 0,
'', '{}', 1)
"""


def test_the_migrations_make_the_tables_that_the_code_uses(database):
    with database.reading() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_database_is_opened_a_second_time_with_what_it_had(address, tmp_path):
    first = open_database(address, data=tmp_path)
    with first.writing() as session:
        session.add(User(name="ana", created=1.0))
    first.close()
    second = open_database(address, data=tmp_path)
    with second.reading() as session:
        assert session.scalars(select(User.name)).all() == ["ana"]
    second.close()


def test_a_transaction_that_fails_leaves_nothing_behind(database):
    with pytest.raises(RuntimeError), database.writing() as session:
        session.add(User(name="ana", created=1.0))
        session.flush()
        raise RuntimeError
    with database.reading() as session:
        assert session.scalars(select(User.name)).all() == []


@pytest.mark.parametrize("change", [update(AuditEntry).values(who="eve"), delete(AuditEntry)])
def test_the_database_refuses_to_change_the_audit_log(database, ana, change):
    with database.writing() as session:
        record(session, ana, "submit", "job", origin="127.0.0.1")
    with pytest.raises(DBAPIError, match="never changed"), database.writing() as session:
        session.execute(change)
    with database.reading() as session:
        assert session.scalars(select(AuditEntry.who)).all() == ["ana"]


def test_a_database_of_a_later_version_is_refused(address, tmp_path):
    opened = open_database(address, data=tmp_path)
    with opened.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    opened.close()
    with pytest.raises(InputError, match="another version of autocompress"):
        open_database(address, data=tmp_path)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", "no address of PostgreSQL"),
        ("mysql://host/name", "no address of PostgreSQL"),
        ("postgresql://nobody@127.0.0.1:1/none", "cannot be used"),
    ],
)
def test_an_address_that_is_none_is_one_sentence(address, message, tmp_path):
    with pytest.raises(InputError, match=message):
        open_database(address, data=tmp_path)


def test_a_database_of_the_version_before_keeps_what_it_has(address, tmp_path):
    """Jobs that were written by the first version are there after the update, and so is the audit log's guard."""
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg://"))
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text("INSERT INTO users (name, created) VALUES ('ana', 1.0)"))
        connection.execute(text(OLD_JOB))
        connection.execute(text("INSERT INTO devices (name, job_id, attempt) VALUES ('b:22', 'a1', 1)"))
        connection.execute(
            text(
                "INSERT INTO audit (at, who, what, subject, origin) VALUES (1.0, 'ana', 'submit', 'a1', 'h')"
            )
        )
    engine.dispose()
    opened = open_database(address, data=tmp_path)
    with opened.reading() as session:
        job = session.scalars(select(JobRow)).one()
        assert (job.id, job.order, job.labels, job.disk_bytes) == ("a1", {"trials": 3}, ["gpu"], 0)
        assert compare_metadata(MigrationContext.configure(session.connection()), Base.metadata) == []
    with pytest.raises(DBAPIError, match="never changed"), opened.writing() as session:
        session.execute(delete(AuditEntry))
    opened.close()
