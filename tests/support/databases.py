"""Database fixtures: each test that asks for one runs on SQLite and on a real PostgreSQL.

A database is shared by the tests of one file: each test uses a new tenant, or asks for an empty database.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services import migrations
from services.database import Database, DatabaseConfig
from tests.support.postgres_server import PostgresServer, no_postgres, running_postgres

SQLITE = "sqlite"
POSTGRESQL = "postgresql"

NewDatabase = Callable[[], str]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    if reason := no_postgres():
        pytest.skip(reason)
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module", params=[SQLITE, POSTGRESQL])
def database_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(scope="module")
def new_database(database_kind: str, request: pytest.FixtureRequest) -> Iterator[NewDatabase]:
    """A function that makes an empty database and returns its URL."""
    if database_kind == POSTGRESQL:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        yield server.create_database
        return
    with tempfile.TemporaryDirectory(prefix="database-") as folder:
        yield lambda: f"sqlite:///{tempfile.mkdtemp(dir=folder)}/test.db"


@pytest.fixture
def empty_database_url(new_database: NewDatabase) -> str:
    return new_database()


@pytest.fixture(scope="module")
def database_url(new_database: NewDatabase) -> str:
    """The URL of a migrated database."""
    url = new_database()
    migrate(url)
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = open_database(database_url)
    yield database
    database.close()


def open_database(url: str, *, timeout_seconds: float = 10, pool_size: int = 5) -> Database:
    return Database(DatabaseConfig(url, is_chosen=True, pool_size=pool_size, timeout_seconds=timeout_seconds))


def migrate(url: str) -> None:
    """Migrates a database to the newest revision."""
    with open_database(url).migrating() as connection:
        migrations.upgrade(connection, told=lambda _: None)


def sqlite_file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))
