"""The database in a worker: what takes time there must hold up no other greenlet."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable

import gevent
import pytest
from gevent.pool import Group
from sqlalchemy import bindparam, func, select, text, update

from errors import DatabaseUnavailable
from models import Credential
from runtime.protocol.ids import new_id
from services.database import Database, DatabaseConfig

WRITERS = 20
ROUNDS = 5
PATIENCE = 40.0
SOON = 1.0
"""Seconds that a database may take in the tests of what takes too long."""

_MARK = update(Credential).where(Credential.tenant_id == bindparam("tenant")).values(last4="5678")


def many_greenlets_write_at_once(url: str) -> None:
    databases = [_open(url, PATIENCE) for _ in range(2)]  # as two processes would
    tenant = new_id()

    def write(writer: int) -> None:
        for number in range(ROUNDS):
            with databases[writer % 2].transaction() as session:
                session.add(_credential(tenant, f"{writer}-{number}"))
                gevent.sleep(0)

    _all(write, WRITERS)

    with databases[0].reading() as session:
        mine = select(func.count()).select_from(Credential).where(Credential.tenant_id == tenant)
        assert session.scalars(mine).one() == WRITERS * ROUNDS


def more_greenlets_read_than_there_are_connections(url: str) -> None:
    database = _open(url, PATIENCE, pool_size=2)
    seen: list[int] = []

    def read(reader: int) -> None:
        with database.reading() as session:
            assert session.scalars(select(1)).one() == 1
            gevent.sleep(0.01)
        seen.append(reader)

    _all(read, WRITERS)

    assert sorted(seen) == list(range(WRITERS))


def a_transaction_that_takes_too_long_is_ended(url: str) -> None:
    database = _open(url, SOON)
    tenant = new_id()

    try:
        with database.transaction() as session:
            session.add(_credential(tenant, "late"))
            session.flush()
            gevent.sleep(PATIENCE)
    except DatabaseUnavailable:
        pass
    else:
        raise AssertionError("it was not ended")

    with _open(url, PATIENCE).reading() as session:
        assert session.scalar(select(Credential).where(Credential.tenant_id == tenant)) is None


def a_locked_file_is_unavailable(url: str) -> None:
    other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    _open(url, PATIENCE).problem()

    _assert_unavailable_but_live(_open(url, SOON), new_id())

    with _open(url, PATIENCE).reading() as session:
        assert session.scalars(select(1)).one() == 1, "who reads is not locked out"
    other.execute("ROLLBACK")
    _store(_open(url, PATIENCE), new_id())


def a_locked_row_is_unavailable(url: str) -> None:
    holder, tenant = _open(url, PATIENCE), new_id()
    _store(holder, tenant)

    with holder.transaction() as session:
        session.execute(text("LOCK TABLE credentials IN EXCLUSIVE MODE"))
        _assert_unavailable_but_live(_open(url, SOON), tenant)

    _store(_open(url, PATIENCE), new_id())


def a_statement_of_its_own_waits_no_longer_than_a_transaction(url: str) -> None:
    holder, tenant = _open(url, PATIENCE), new_id()
    _store(holder, tenant)
    database = _open(url, SOON, pool_size=1)

    with holder.transaction() as session:
        session.execute(update(Credential).where(Credential.tenant_id == tenant).values(last4="0000"))
        with pytest.raises(DatabaseUnavailable):
            database.execute(_MARK, {"tenant": tenant})

    database.execute(_MARK, {"tenant": tenant})
    assert _marks(holder, tenant) == ["5678"]
    _assert_transactions_are_undone(database, tenant)


def a_statement_whose_server_says_nothing_more_is_given_up(url: str) -> None:
    holder, tenant = _open(url, PATIENCE), new_id()
    _store(holder, tenant)
    database = _open(url, SOON, pool_size=1)
    with database.reading() as session:
        backend = session.scalars(text("SELECT pg_backend_pid()")).one()

    os.kill(backend, signal.SIGSTOP)
    try:
        with pytest.raises(DatabaseUnavailable):
            database.execute(_MARK, {"tenant": tenant})
        _store(database, new_id())
    finally:
        os.kill(backend, signal.SIGCONT)
    _assert_transactions_are_undone(database, tenant)


def a_server_that_never_answers_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        database = _open(url, SOON)
        turner = gevent.spawn(gevent.sleep, SOON / 10)

        assert database.problem() == "database_unreachable"

        assert turner.dead, "others went on meanwhile"


def _assert_unavailable_but_live(database: Database, tenant: str) -> None:
    """A writer is refused, and meanwhile other greenlets go on."""
    turns = 0

    def turn() -> None:
        nonlocal turns
        while True:
            gevent.sleep(0.005)
            turns += 1

    assert database.problem() is None
    turner = gevent.spawn(turn)
    begun = time.monotonic()
    try:
        _store(database, tenant)
    except DatabaseUnavailable:
        pass
    else:
        raise AssertionError("it was not refused")
    finally:
        turner.kill()
    assert time.monotonic() - begun >= SOON / 2, "it waited for its turn"
    assert turns >= 5, turns


def _assert_transactions_are_undone(database: Database, tenant: str) -> None:
    """Also on a connection that has stored each statement at once before."""
    try:
        with database.transaction() as session:
            session.execute(update(Credential).where(Credential.tenant_id == tenant).values(last4="9999"))
            raise InterruptedError
    except InterruptedError:
        pass
    assert _marks(database, tenant) != ["9999"]


def _marks(database: Database, tenant: str) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(Credential.last4).where(Credential.tenant_id == tenant)))


def _store(database: Database, tenant: str) -> None:
    with database.transaction() as session:
        session.add(_credential(tenant, new_id()))


def _credential(tenant: str, name: str) -> Credential:
    return Credential(tenant_id=tenant, name=name, provider="p", encrypted_values="e", last4="1234", fingerprint="f")


def _open(url: str, timeout_seconds: float, pool_size: int = 5) -> Database:
    return Database(DatabaseConfig(url, is_chosen=True, pool_size=pool_size, timeout_seconds=timeout_seconds))


def _all(work: Callable[[int], None], count: int) -> None:
    group = Group()
    for number in range(count):
        group.start(group.greenlet_class(work, number))
    group.join(raise_error=True)
