"""Engines for the two databases, and the differences between these, which are hidden from all other modules."""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    BigInteger,
    Connection,
    Engine,
    NullPool,
    QueuePool,
    cast,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from runtime.polling import is_readable_now

if TYPE_CHECKING:
    import psycopg

WRITES = "greenrun_writes"
"""The execution option of a connection whose next transaction writes."""

# Primary result codes for what is locked, missing or full, and can pass without a change to the program.
_SQLITE_OUTAGES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
_PRIMARY_CODE = 0xFF

MIGRATION_LOCK = 0x677265656E72756E
"""The number of the advisory lock that migrations take on PostgreSQL."""


def sqlite_path(url: str) -> Path | None:
    """Returns the file of a SQLite URL; None for another database."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def make_engine(url: str, *, pool_size: int, timeout_seconds: float) -> Engine:
    """Returns an engine for requests. It does not connect yet."""
    path = sqlite_path(url)
    if path is not None:
        return _sqlite_engine(path, poolclass=QueuePool, pool_size=pool_size, max_overflow=0)
    milliseconds = math.ceil(timeout_seconds * 1000)
    parsed = _with_driver(url)
    limits = f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
    engine = create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeout_seconds,
        hide_parameters=True,  # errors are logged, and what callers send must not be
        connect_args={
            "connect_timeout": max(2, math.ceil(timeout_seconds)),
            "options": f"{parsed.query.get('options', '')} {limits}",
        },
    )
    event.listen(engine, "do_connect", _connect_postgres)
    event.listen(engine, "checkout", _require_open)
    return engine


def _connect_postgres(_: object, __: object, args: Any, options: Any) -> psycopg.Connection[Any]:
    # Users of SQLite need no psycopg, which takes time to import.
    from services.postgres_connection import connect

    return connect(*args, **options)


def _require_open(connection: psycopg.Connection[Any], *_: object) -> None:
    """Lets the pool replace a connection that PostgreSQL has closed meanwhile, so that no request fails for it.

    An idle connection has nothing to read, except what PostgreSQL sends when it closes it. This check costs no round
    trip.
    """
    if is_readable_now(connection.fileno()):
        raise DisconnectionError


def make_migration_engine(url: str) -> Engine:
    """Returns an engine for migrations: without time limits, and with a new file when SQLite has none.

    Foreign keys are not enforced on SQLite: there a table is changed by creating it anew, and the old one is dropped.
    """
    path = sqlite_path(url)
    if path is None:
        engine = create_engine(_with_driver(url), poolclass=NullPool)
        event.listen(engine, "do_connect", _connect_postgres)
        return engine
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    return _sqlite_engine(path, poolclass=NullPool, foreign_keys="OFF", journal_mode="WAL")


def lock_for_migration(connection: Connection) -> None:
    """Waits until no other migration is running. On SQLite the transaction itself is the lock."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")


def wait_alone(session: Session, *names: str) -> None:
    """Takes the lock with these names until the end of this transaction, waiting for others that hold it.

    On SQLite there is nothing to wait for: there is only one writer anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        digest = hashlib.sha256("\n".join(names).encode()).digest()
        number = int.from_bytes(digest[:8], signed=True)
        session.execute(select(func.pg_advisory_xact_lock(cast(number, BigInteger))))


def is_outage(error: DBAPIError) -> bool:
    """Whether an error means that the database is unreachable or busy, rather than that the program is wrong."""
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY_CODE in _SQLITE_OUTAGES
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def is_busy(error: DBAPIError) -> bool:
    """Whether an error means that another connection to SQLite holds a lock, so that trying again helps."""
    code = getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY_CODE
    return isinstance(error.orig, sqlite3.Error) and code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _with_driver(url: str) -> URL:
    return make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+psycopg")


def _sqlite_engine(path: Path, *, foreign_keys: str = "ON", journal_mode: str | None = None, **pool: Any) -> Engine:
    # No file is created here: a server that was given no database must not leave one behind. SQLite itself never waits,
    # as that would stop every greenlet of the worker; the beginning of a transaction is retried instead.
    uri = f"file:{quote(str(path.absolute()))}?mode=rw"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA foreign_keys = {foreign_keys}")
        # With FULL each commit would wait for the disk, in C, and stop every greenlet for milliseconds.
        connection.execute("PRAGMA synchronous = NORMAL")
        if journal_mode is not None:
            connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        return connection

    engine = create_engine("sqlite://", creator=connect, hide_parameters=True, **pool)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _begin_sqlite(connection: Connection) -> None:
    """Begins so that no other connection can get in the way later in the transaction."""
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
    if writes:
        return
    try:
        connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").close()  # takes the snapshot
    except OperationalError:
        connection.exec_driver_sql("ROLLBACK")
        raise
