"""What tests of the service share: databases of both kinds, users, a clock that is set."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from autocompress.service.access.caller import Caller
from autocompress.service.access.tokens import Access
from autocompress.service.database.opened import Database, open_database
from autocompress.tests import postgres


class Clock:
    """Seconds since 1970 that a test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    if postgres.BINARIES is None:
        pytest.skip(postgres.MISSING)
    folder = Path(tempfile.mkdtemp(prefix="autocompress-pg-", dir="/tmp"))  # a socket's path is short
    server = postgres.Postgres(folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'service.db'}"
    address: str = request.getfixturevalue("postgres_server").new_database()
    return address


@pytest.fixture
def database(address: str, tmp_path: Path) -> Iterator[Database]:
    opened = open_database(address, data=tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def caller_of(database: Database, name: str, scope: str = "submit") -> Caller:
    """A user with a token."""
    access = Access(database)
    caller = access.by_token(access.make(name, scope))
    assert caller is not None
    return caller


@pytest.fixture
def ana(database: Database) -> Caller:
    return caller_of(database, "ana")
