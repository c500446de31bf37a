"""Sessions while Redis or the database is away or read-only: refused turns leave nothing behind, others go on."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import update

from models import AgentSession, SessionTurn
from models.enums import TurnStatus
from tests.support.client import wait_until
from tests.support.databases import sqlite_file
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.session_client import SessionClient, says, says_and_waits, scripted_soul, shown
from tests.support.session_site import (
    ASKS,
    CONTACTS,
    IS_SOAK,
    LATE_SECONDS,
    NEVER,
    PREFIX,
    RACERS,
    Site,
    begun,
    chat_of,
    demo_agent,
    has_said,
    on_postgresql,
    on_sqlite,
    statuses,
    writes_refused,
)

DROPS_SECONDS = 60.0 if IS_SOAK else 4.0


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@on_sqlite
def test_a_turn_that_redis_does_not_take_leaves_its_session_as_it_was(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    one, other = clients
    daemon.script(model, says("a0"), says_and_waits("a1", until=model), says("a2"))
    agent = one.scripted_agent(model)
    session = one.session(agent)
    one.say(session, "q0")
    body = {"agent_soul": scripted_soul(model, "Other.")}
    version = one.json("POST", f"/agents/{agent['id']}/versions", 201, json=body)["id"]
    idle = one.json("GET", f"/sessions/{session}")

    with writes_refused(site):
        other.refused(
            "POST", f"/sessions/{session}/runs", 503, "storage_unavailable", json={"query": "?", "version_id": version}
        )
    assert one.json("GET", f"/sessions/{session}") == idle

    run_id = one.start(session, "q1")["run_id"]
    wait_until(has_said(one, run_id))
    busy = one.json("GET", f"/sessions/{session}")
    for strategy in ("interrupt", "rollback"):
        wanted = {"query": "?", "multitask_strategy": strategy}
        with writes_refused(site):
            other.refused("POST", f"/sessions/{session}/runs", 503, "storage_unavailable", json=wanted)
        assert one.json("GET", f"/sessions/{session}") == busy
        assert [turn.stop for turn in site.rows(session)[1]] == [None, None]
    daemon.release(model)

    assert one.finish(run_id)["type"] == "run_succeeded"
    assert one.say(session, "q2")["type"] == "run_succeeded"
    assert [turn.query for turn in site.assert_sound(one, session)] == ["q0", "q1", "q2"]


@on_sqlite
def test_a_session_that_is_deleted_while_redis_takes_no_writes_has_its_turn_cancelled_later(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    one, other = clients
    session = begun(one, daemon, model, [{"text": "half"}, {"hang": True}])
    run_id = one.start(session, "q1")["run_id"]
    wait_until(has_said(one, run_id))
    with writes_refused(site):
        other.refused("DELETE", f"/sessions/{session}?cancel=true", 503, "storage_unavailable")

    age_deleted(site, session)

    wait_until(lambda: (site.record(run_id) or {})["status"] == "cancelled")
    assert daemon.wait_until_ended(model, count=2)["closed_by_client"]
    wait_until(lambda: site.rows(session)[0].unfinished == 0)
    age_deleted(site, session)
    wait_until(lambda: not has_rows(site, session))


def age_deleted(site: Site, session_id: str) -> None:
    """Makes it seem a minute since the session was deleted or last looked at."""
    with site.database.transaction() as session:
        aged = update(AgentSession).where(AgentSession.id == session_id)
        session.execute(aged.values(updated_at=datetime.now(UTC) - timedelta(minutes=1)))


def has_rows(site: Site, session_id: str) -> bool:
    with site.database.reading() as session:
        return session.get(AgentSession, session_id) is not None


@on_sqlite
def test_turns_that_run_and_wait_go_on_when_redis_comes_back(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    one, other = clients
    session = begun(one, daemon, model, says_and_waits("a1", until=model), *[says(f"a{n}") for n in (2, 3, 4)])
    run_ids = [(one, other)[number % 2].start(session, f"q{number}")["run_id"] for number in (1, 2, 3)]
    daemon.wait_for_call(model, count=2)

    site.redis_server.kill()
    other.refused("POST", f"/sessions/{session}/runs", 503, "storage_unavailable", json={"query": "?"})
    daemon.release(model)
    daemon.wait_until_ended(model, count=2)
    site.redis_server.restart()

    assert {one.finish(run_id)["type"] for run_id in run_ids} == {"run_succeeded"}
    assert other.say(session, "q4")["type"] == "run_succeeded"
    assert [turn.query for turn in site.assert_sound(one, session)] == [f"q{number}" for number in range(5)]


@on_sqlite
def test_turns_whose_runs_redis_has_lost_have_failed_and_the_next_one_goes_on(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    one, other = clients
    session = begun(one, daemon, model, says_and_waits("half", until=NEVER), says("a4"))
    run_ids = [client.start(session, f"q{number}")["run_id"] for number, client in ((1, one), (2, other), (3, one))]
    wait_until(has_said(one, run_ids[0]))

    site.redis_server.kill()
    site.redis_server.restart(keep_data=False)
    wait_until(site.is_ready)
    fourth = other.start(session, "q4")
    time.sleep(0.5)  # so soon, the runs of the turns before it may still appear
    assert other.runs().page(fourth["run_id"])["events"] == []
    backdate(site, *run_ids)

    assert one.finish(fourth["run_id"])["type"] == "run_succeeded"
    assert statuses(site.assert_sound(one, session))[1:] == [
        *[(f"q{number}", "failed", "run_gone") for number in (1, 2, 3)],
        ("q4", "succeeded", None),
    ]
    assert shown(daemon.calls(model)[-1]) == [("user", "q0"), ("assistant", "a0"), ("user", "q4")]


def backdate(site: Site, *run_ids: str) -> None:
    """Makes these turns seem to have been accepted a while ago."""
    then = datetime.now(UTC) - timedelta(minutes=1)
    with site.database.transaction() as session:
        aged = update(SessionTurn).where(SessionTurn.run_id.in_(run_ids))
        session.execute(aged.values(created_at=then, updated_at=then))


@on_sqlite
def test_a_run_that_loses_its_stream_at_its_very_end_does_not_succeed(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str, database_url: str
) -> None:
    """Its last events are refused while its turn is being prepared."""
    one, other = clients
    session = begun(one, daemon, model, says_and_waits("half", until=model, then=" done"))
    run_id = one.start(session, "q1")["run_id"]
    wait_until(has_said(one, run_id))

    with sqlite_locked(database_url):
        site.redis.delete(f"{PREFIX}:runs:{run_id}:events")
        site.redis_server.pause()
        try:
            daemon.release(model)
            daemon.wait_until_ended(model, count=2)
            time.sleep(0.5)  # the model's answer has arrived, and its turn is being prepared
        finally:
            site.redis_server.resume()
        wait_until(lambda: (site.record(run_id) or {})["status"] != "running")

    assert (site.record(run_id) or {})["status"] == "failed"
    site.assert_sound(other, session)


@on_sqlite
def test_a_chat_that_ends_with_a_question_while_the_database_is_away_breaks_off_and_can_be_read_again(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str, database_url: str
) -> None:
    one, other = clients
    daemon.script(model, [{"wait": model}, *ASKS])
    session = one.session(one.scripted_agent(model, human=CONTACTS))
    turn = one.start(session, "q0")
    daemon.wait_for_call(model)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(chat_of, other, session, turn)
        with sqlite_locked(database_url):
            time.sleep(LATE_SECONDS)  # the reader has connected
            daemon.release(model)
            broken = reading.result()

    assert broken[-1]["event"] == "error"
    assert chat_of(other, session, turn)[-1]["metadata"]["human_input"]["form_token"]


@contextmanager
def sqlite_locked(url: str) -> Iterator[None]:
    """Holds SQLite's write lock for the time of the block."""
    connection = sqlite3.connect(sqlite_file(url), isolation_level=None, timeout=30)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


@contextmanager
def database_away(url: str) -> Iterator[None]:
    """Makes writing transactions impossible for the time of the block; on PostgreSQL, all transactions."""
    if url.startswith("sqlite"):
        with sqlite_locked(url):
            yield
        return
    with psycopg.connect(url, dbname="postgres", autocommit=True) as admin:
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        allow = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
        try:
            admin.execute(allow.format(sql.Identifier(str(name)), sql.SQL("false")))
            drop_connections(admin, str(name))
            yield
        finally:
            admin.execute(allow.format(sql.Identifier(str(name)), sql.SQL("true")))


def drop_connections(admin: psycopg.Connection[Any], name: str) -> None:
    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def test_a_turn_that_succeeds_while_the_database_is_away_is_finalized_when_it_is_back(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str, database_url: str
) -> None:
    one, other = clients
    session = begun(one, daemon, model, says_and_waits("a1", until=model), says("a2"), says("a3"))
    first, second = one.start(session, "q1")["run_id"], other.start(session, "q2")["run_id"]
    wait_until(has_said(one, first))
    site.database.close()  # otherwise this test's own connections would be dropped too

    with database_away(database_url):
        daemon.release(model)
        assert one.finish(first)["type"] == "run_succeeded"
        for client in clients:
            wanted = {"query": "?"}
            client.refused("POST", f"/sessions/{session}/runs", 503, "database_unavailable", json=wanted)
    site.database.close()

    assert one.finish(second)["type"] == "run_succeeded"
    assert one.say(session, "q3")["type"] == "run_succeeded"
    turns = site.assert_sound(other, session)
    assert [(turn.query, turn.answer) for turn in turns] == [(f"q{number}", f"a{number}") for number in range(4)]


@on_postgresql
def test_a_turn_that_waits_begins_later_when_the_database_is_away_as_its_time_comes(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str, database_url: str
) -> None:
    one, other = clients
    session = begun(one, daemon, model, says_and_waits("a1", until=model), says("a2"))
    first, second = one.start(session, "q1")["run_id"], other.start(session, "q2")["run_id"]
    seen = {server: len(server.log) for server in (site.one, site.other)}

    with psycopg.connect(database_url) as locks:
        locks.execute("LOCK TABLE agents IN ACCESS EXCLUSIVE MODE")
        daemon.release(model)
        assert one.finish(first)["type"] == "run_succeeded"
        wait_until(lambda: any("WARNING services.database" in server.log[start:] for server, start in seen.items()))

    assert one.finish(second)["type"] == "run_succeeded"
    site.assert_sound(other, session)


@on_postgresql
def test_a_database_that_drops_its_connections_all_the_time_fails_no_turn_that_was_accepted(
    site: Site, clients: tuple[SessionClient, SessionClient], database_url: str
) -> None:
    agent = demo_agent(clients[0], "one two", 20)
    sessions = [clients[0].session(agent) for _ in range(RACERS)]
    name = str(psycopg.conninfo.conninfo_to_dict(database_url)["dbname"])
    accepted: list[tuple[str, str]] = []
    pauses = cycle(number * 0.007 for number in range(15))
    until = time.monotonic() + DROPS_SECONDS

    def speak(session: str) -> None:
        for number, client in enumerate(cycle(clients)):
            if time.monotonic() > until:
                return
            answer = client.call("POST", f"/sessions/{session}/runs", json={"query": f"q{number}"})
            assert answer.status_code in (202, 503), answer.text
            if answer.status_code == 202:
                accepted.append((session, answer.json()["run_id"]))
            time.sleep(0.05)

    site.database.close()
    with psycopg.connect(database_url, dbname="postgres", autocommit=True) as admin, ThreadPoolExecutor(RACERS) as pool:
        speaking = [pool.submit(speak, session) for session in sessions]
        while not all(future.done() for future in speaking):
            drop_connections(admin, name)
            time.sleep(next(pauses))
        for future in speaking:
            future.result()
    site.database.close()

    assert {clients[0].finish(run_id)["type"] for _, run_id in accepted} == {"run_succeeded"}
    backdate(site, *unstored(site, sessions))
    for session in sessions:
        turns = site.assert_sound(clients[1], session)
        succeeded = {turn.run_id for turn in turns if turn.status is TurnStatus.SUCCEEDED}
        assert succeeded == {run_id for one, run_id in accepted if one == session}


def unstored(site: Site, sessions: list[str]) -> list[str]:
    """The runs of turns that were stored although the answer to the commit was lost."""
    return [turn.run_id for session in sessions for turn in site.rows(session)[1] if not site.record(turn.run_id)]
