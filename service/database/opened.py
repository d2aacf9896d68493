"""A database of the service: opened, brought to this version, with transactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session

from ...errors import InputError

_WAIT_S = 30
_IMMEDIATE = "autocompress_immediate"
_URLS = "write it like postgresql://user@host/name (the password in PGPASSWORD or ~/.pgpass)"


class Database:
    """Transactions on an engine whose tables are those of this version."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self._writing = engine.execution_options(**{_IMMEDIATE: True})

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only looks."""
        with Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that is committed at its end, and leaves nothing behind after an error."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Ends its connections."""
        self._engine.dispose()


def open_database(url: str | None, *, data: Path) -> Database:
    """The database at `url`, or the SQLite file below `data`, with the tables of this version.

    InputError when it cannot be reached, or belongs to a later version.
    """
    engine = _sqlite(data / "service.db") if url is None else _named(url)
    try:
        _migrate(engine)
    except InputError:
        engine.dispose()
        raise
    except DBAPIError as error:
        engine.dispose()
        reason = str(error.orig).strip().splitlines()[0]
        raise InputError(f"The database cannot be used ({reason}): start it, or mend --database.") from error
    return Database(engine)


def _sqlite(file: Path) -> Engine:
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": _WAIT_S})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins transactions
    for statement in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
        connection.execute(f"PRAGMA {statement}")


def _begin_sqlite(connection: Any) -> None:
    immediate = connection.get_execution_options().get(_IMMEDIATE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _named(text: str) -> Engine:
    try:
        url = make_url(text)
        if url.get_backend_name() == "sqlite" and url.database:
            return _sqlite(Path(url.database))
        if url.get_backend_name() == "postgresql":
            return create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError):
        pass
    except ImportError as error:
        raise InputError("PostgreSQL needs psycopg: pip install 'autocompress[service]'.") from error
    raise InputError(f"--database is no address of PostgreSQL: {_URLS}.")


def _migrate(engine: Engine) -> None:
    """Makes the tables, or changes those of an earlier version."""
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.execution_options(**{_IMMEDIATE: True}).connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise InputError(
                f"The database belongs to another version of autocompress ({error}): update this one."
            ) from error
