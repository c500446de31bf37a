"""Engines for the two databases, and what sets these apart. Nobody else needs to know which one it is."""

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
"""The execution option of a connection whose next transaction changes something."""

# Primary result codes: what is in the way, is gone or is full, and passes without anybody changing the program.
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
"""The number of the advisory lock that migrations of PostgreSQL take."""


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite URL; None for another database."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def make_engine(url: str, *, pool_size: int, timeout_seconds: float) -> Engine:
    """An engine for requests. It opens nothing yet."""
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
    # Whoever has SQLite needs no psycopg, which takes time to import.
    from services.postgres_connection import connect

    return connect(*args, **options)


def _require_open(connection: psycopg.Connection[Any], *_: object) -> None:
    """Let the pool replace a connection that PostgreSQL has closed meanwhile, so that no request fails for it.

    An idle connection has nothing to read, but for what PostgreSQL says when it closes it. To look costs no round trip.
    """
    if is_readable_now(connection.fileno()):
        raise DisconnectionError


def make_migration_engine(url: str) -> Engine:
    """An engine for migrations: without limits of time, and with the file made when SQLite has none.

    Foreign keys are not enforced on SQLite: there a table is changed by making it anew, and the old one is dropped.
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
    """Wait until no other migration is under way. On SQLite the transaction itself is the lock."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")


def wait_alone(session: Session, *names: str) -> None:
    """Wait until no other transaction holds what is named like this, and hold it to the end of this one.

    On SQLite there is nothing to wait for: whoever writes is alone already.
    """
    if session.get_bind().dialect.name == "postgresql":
        digest = hashlib.sha256("\n".join(names).encode()).digest()
        number = int.from_bytes(digest[:8], signed=True)
        session.execute(select(func.pg_advisory_xact_lock(cast(number, BigInteger))))


def is_outage(error: DBAPIError) -> bool:
    """Whether an error says that the database is away or busy, rather than that the program is wrong."""
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY_CODE in _SQLITE_OUTAGES
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def is_busy(error: DBAPIError) -> bool:
    """Whether another connection to SQLite is in the way, so that trying again helps."""
    code = getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY_CODE
    return isinstance(error.orig, sqlite3.Error) and code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _with_driver(url: str) -> URL:
    return make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+psycopg")


def _sqlite_engine(path: Path, *, foreign_keys: str = "ON", journal_mode: str | None = None, **pool: Any) -> Engine:
    # No file is made here: a server that nobody has given a database must not leave one behind. SQLite itself never
    # waits, as that would stop every greenlet of the worker; whoever begins a transaction waits and tries again.
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
    """Begin so that nothing later in the transaction finds another connection in its way."""
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
