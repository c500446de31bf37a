"""The database, SQLite or PostgreSQL: its transactions and its failures."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gevent
from gevent import monkey
from sqlalchemy import Connection, Engine, Executable, Transaction
from sqlalchemy.exc import DBAPIError, InvalidRequestError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from errors import DatabaseUnavailable, MigrationsPending
from services.database_engines import (
    WRITES,
    is_busy,
    is_outage,
    lock_for_migration,
    make_engine,
    make_migration_engine,
    sqlite_path,
)
from services.migrations import current_revision, lacks_migrations

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.002
LONGEST_PAUSE_SECONDS = 0.05
MIGRATION_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Where the database is and how a worker may use it."""

    url: str
    is_chosen: bool
    """Whether the operator has named the database; the default one is used only if it exists."""
    pool_size: int
    """The connections that a worker keeps, and so its transactions at once; further ones wait."""
    timeout_seconds: float
    """The longest that a transaction may take, waiting included."""


class Database:
    """Transactions on the database. One per process; the first transaction connects, and ``close`` disconnects.

    A session must not be kept open while something is streamed or a remote call is made: it holds a connection.
    """

    def __init__(self, config: DatabaseConfig) -> None:
        self.config = config
        self._file = sqlite_path(config.url)
        self._is_migrated = False
        # SQLite allows one writer at a time. Those of this process queue here; _begin handles those of others.
        self._writer = threading.Lock()

    @cached_property
    def _engine(self) -> Engine:
        return make_engine(
            self.config.url, pool_size=self.config.pool_size, timeout_seconds=self.config.timeout_seconds
        )

    @property
    def is_in_use(self) -> bool:
        """Whether a database should be there: the run server works without one too."""
        return self.config.is_chosen or self._is_there

    @property
    def _is_there(self) -> bool:
        """Whether it can be connected to: SQLite's file is created by a migration only."""
        return self._file is None or self._file.exists()

    @contextmanager
    def transaction(self, *, timeout_seconds: float | None = None) -> Iterator[Session]:
        """Opens a session that may change rows: all is stored at the end of the block, or nothing if that raises.

        It may take ``timeout_seconds``, or else what the settings say.

        Raises DatabaseUnavailable when the database is unreachable, locked or slow, and MigrationsPending. Errors of
        the rows themselves, such as IntegrityError, are not caught; those that would occur at the end of the block are
        raised there: call ``flush`` to meet them earlier.
        """
        seconds = timeout_seconds or self.config.timeout_seconds
        with self._failures_told(seconds), self._turn(seconds), self._begun(seconds, writes=True) as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Opens a session that reads. Writing in it fails. Raises what ``transaction`` raises."""
        seconds = self.config.timeout_seconds
        with self._failures_told(seconds), self._begun(seconds, writes=False) as session:
            yield session

    def execute(self, statement: Executable, values: Mapping[str, Any]) -> None:
        """Executes one statement that changes rows, as a transaction of its own.

        Raises what ``transaction`` raises, but then the statement may still be executed, even later.
        """
        if self._file:
            with self.transaction() as session:
                session.connection().execute(statement, values)
            return
        # On PostgreSQL a statement in autocommit takes one round trip instead of three.
        with self._failures_told(self.config.timeout_seconds), self._connected() as plain:
            connection = plain.execution_options(isolation_level="AUTOCOMMIT")
            self._require_migrations(connection)
            connection.execute(statement, values)

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Opens a connection for a migration, in a transaction that no other migration shares.

        Raises DatabaseUnavailable.
        """
        with self._failures_told(None):
            try:
                engine = make_migration_engine(self.config.url)
            except OSError as error:
                raise DatabaseUnavailable(f"the database's file cannot be made: {error.strerror}") from error
            with (
                self._patiently_connected(engine) as connection,
                self._begin(connection, MIGRATION_PATIENCE_SECONDS),
            ):
                lock_for_migration(connection)
                yield connection

    def problem(self) -> str | None:
        """Returns why requests for the database would fail now; None when they would not."""
        try:
            with self.reading():
                return None
        except DatabaseUnavailable as error:
            return "migrations_pending" if isinstance(error, MigrationsPending) else "database_unreachable"

    def revision(self) -> str | None:
        """Returns the revision that the database has been migrated to; None when it does not exist or is empty."""
        if not self._is_there:
            return None
        with self._failures_told(self.config.timeout_seconds), self._engine.connect() as connection:
            return current_revision(connection)

    def close(self) -> None:
        """Closes every connection that is not in use."""
        if "_engine" in self.__dict__:
            self._engine.dispose()

    @contextmanager
    def _begun(self, seconds: float, *, writes: bool) -> Iterator[Session]:
        if not self._is_there:
            raise MigrationsPending
        options = {WRITES: writes} if self._file else {"postgresql_readonly": not writes}
        with self._connected() as plain:
            connection = plain.execution_options(**options)
            with self._begin(connection, seconds) as transaction:
                self._require_migrations(connection)
                with Session(connection, expire_on_commit=False) as session:
                    yield session
                    session.flush()
                if not writes:
                    transaction.rollback()

    def _connected(self) -> Connection:
        try:
            return self._engine.connect()
        except InvalidRequestError as error:  # the pool raises this when connections end faster than it can open them
            raise DatabaseUnavailable from error

    def _begin(self, connection: Connection, patience_seconds: float) -> Transaction:
        """Begins, trying again while another process writes to SQLite: waiting in C would stop every greenlet."""
        deadline = time.monotonic() + patience_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return connection.begin()
            except OperationalError as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    @contextmanager
    def _patiently_connected(self, engine: Engine) -> Iterator[Connection]:
        """Opens a connection for a migration, which may fail while another process switches SQLite's file to WAL."""
        deadline = time.monotonic() + MIGRATION_PATIENCE_SECONDS
        while True:
            try:
                connection = engine.connect()
                break
            except OperationalError as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise
            time.sleep(LONGEST_PAUSE_SECONDS)
        with connection:
            yield connection.execution_options(**({WRITES: True} if self._file else {}))

    @contextmanager
    def _turn(self, seconds: float) -> Iterator[None]:
        if not self._file:
            yield
            return
        if not self._writer.acquire(timeout=seconds):
            raise DatabaseUnavailable
        try:
            yield
        finally:
            self._writer.release()

    @contextmanager
    def _failures_told(self, seconds: float | None) -> Iterator[None]:
        """Turns outages into DatabaseUnavailable, and ends what takes too long."""
        # Without gevent (at the command line) nothing would ever check the timeout.
        limit = gevent.Timeout(seconds if monkey.is_module_patched("socket") else None)
        try:
            with limit:
                yield
        except gevent.Timeout as expired:
            if expired is not limit:
                raise
            logger.warning("a transaction took longer than %g seconds", seconds)
            raise DatabaseUnavailable from None
        except PoolTimeout as error:
            logger.warning("no connection to the database was free in time")
            raise DatabaseUnavailable from error
        except DBAPIError as error:
            if not is_outage(error):
                raise
            logger.warning("the database is away: %s", type(error.orig).__name__)
            raise DatabaseUnavailable from error

    def _require_migrations(self, connection: Connection) -> None:
        if not self._is_migrated:
            if lacks_migrations(connection):
                raise MigrationsPending
            self._is_migrated = True
