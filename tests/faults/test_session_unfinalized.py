"""Faults between the end of a turn and its finalizing: servers stop, workers die, and writes fail."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

from models import AgentSession, SessionTurn
from models.enums import TurnStatus
from tests.support.client import wait_until
from tests.support.databases import migrate, open_database, sqlite_file
from tests.support.gunicorn_server import running_server
from tests.support.plugin_daemon import USAGE, ScriptedDaemon
from tests.support.redis_server import RedisServer
from tests.support.session_client import SessionClient, says, says_and_waits, shown
from tests.support.session_site import (
    LATE,
    Site,
    begun,
    has_said,
    session_environment,
    told,
    writes_refused,
)

ATTEMPTS = 5
"""A turn may be finalized before a busy machine gets to the step that should come first; hence the retries."""


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.mark.parametrize("moment", ["before", "within its grace"])
def test_a_server_that_is_stopped_finalizes_what_has_ended(
    daemon: ScriptedDaemon, redis_server: RedisServer, empty_database_url: str, model: str, moment: str
) -> None:
    """No other server is there to do it."""
    migrate(empty_database_url)
    daemon.script(model, says("a0"), says_and_waits("a1", until=model))
    env = session_environment(redis_server.url, daemon, empty_database_url, redis_prefix=model)
    with running_server(env, app=LATE) as server:
        client = SessionClient(server.url)
        session = client.session(client.scripted_agent(model))
        assert client.say(session, "q0")["type"] == "run_succeeded"
        run_id = client.start(session, "q1")["run_id"]
        wait_until(has_said(client, run_id))
        if moment == "before":
            daemon.release(model)
            client.finish(run_id)
            server.stop()
        else:
            server.send_signal(signal.SIGTERM)
            time.sleep(2)  # now it waits only for the turn
            daemon.release(model)
            server.wait()
        assert "Traceback" not in server.log
        assert "not finalized" not in server.log

    database = open_database(empty_database_url)
    with database.reading() as rows:
        row, turns = rows.get_one(AgentSession, session), rows.scalars(select(SessionTurn)).all()
    database.close()
    assert {turn.status for turn in turns} == {TurnStatus.SUCCEEDED}
    assert (row.unfinished, row.turns, [turn.prepared_snapshot for turn in turns]) == (0, 2, [None, None])


def test_a_turn_whose_worker_is_killed_when_its_end_was_seen_is_found_by_the_next_one_elsewhere(
    site: Site, daemon: ScriptedDaemon, model: str
) -> None:
    with running_server(site.env, app=LATE) as late:
        one = SessionClient(late.url)
        other = SessionClient(site.other.url, tenant=one.tenant)
        session = begun(one, daemon, model, says("a1"), says("a2"), says("a3"))
        worker = site.worker(late)

        assert one.say(session, "q1")["type"] == "run_succeeded"
        site.kill_worker(late)
        assert [turn.status for turn in site.rows(session)[1]] == [TurnStatus.SUCCEEDED, TurnStatus.RUNNING]
        assert other.say(session, "q2")["type"] == "run_succeeded"
        wait_until(lambda: late.workers() not in ([], [worker]))
        late.wait_until_ready()
        assert one.say(session, "q3")["type"] == "run_succeeded"
        assert "Traceback" not in late.log

    turns = site.assert_sound(other, session)
    assert [(turn.position, turn.status, turn.answer) for turn in turns] == [
        (number + 1, TurnStatus.SUCCEEDED, f"a{number}") for number in range(4)
    ]
    assert site.rows(session)[0].turns == 4
    assert [turn.usage["total_tokens"] for turn in turns if turn.usage] == [USAGE["total_tokens"]] * 4
    assert shown(daemon.calls(model)[-1]) == [*told(3), ("user", "q3")]


@contextmanager
def changes_refused(url: str) -> Iterator[None]:
    """Makes sessions read-only for the time of the block."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(sqlite_file(url), isolation_level=None, timeout=30)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
        finally:
            connection.close()
        return
    with psycopg.connect(url) as locks:
        locks.execute("LOCK TABLE sessions IN EXCLUSIVE MODE")
        yield


def test_a_turn_that_could_not_be_finalized_together_with_others_is_finalized_by_a_reader(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str, database_url: str
) -> None:
    one, other = clients
    daemon.script(model, says("a0"))
    agent = one.scripted_agent(model)

    def left() -> tuple[list[str], list[dict[str, Any]]] | None:
        """Returns sessions with unfinalized turns, and their ends; None when they were finalized too soon."""
        sessions, seen = [one.session(agent) for _ in range(2)], len(site.one.log)
        run_ids = [one.start(session, "q0")["run_id"] for session in sessions]
        ends = [one.finish(run_id) for run_id in run_ids]
        with changes_refused(database_url):
            if any(site.is_finalized(session) for session in sessions):
                return None
            wait_until(lambda: "turns were not finalized yet" in site.one.log[seen:])
            other.refused("GET", f"/sessions/{sessions[0]}/turns", 503, "database_unavailable")
        return sessions, ends

    sessions, ends = next(tried for _ in range(ATTEMPTS) if (tried := left()) is not None)
    assert not any(site.is_finalized(session) for session in sessions)

    for session, end in zip(sessions, ends, strict=True):
        assert [turn["status"] for turn in other.turns(session)] == ["succeeded"]
        site.assert_finalized(session, end)
        site.assert_sound(one, session)


def test_a_message_that_redis_does_not_take_leaves_the_last_turn_finalized_or_to_be_finalized(
    site: Site, daemon: ScriptedDaemon, model: str
) -> None:
    """The message reaches the worker that has not finalized the last turn yet."""
    with running_server(site.env, app=LATE) as late:
        one = SessionClient(late.url)
        session = begun(one, daemon, model, says("a1"), says("a2"))
        end = one.say(session, "q1")

        with writes_refused(site):
            one.refused("POST", f"/sessions/{session}/runs", 503, "storage_unavailable", json={"query": "?"})
        assert [turn["status"] for turn in one.turns(session)] == ["succeeded", "succeeded"]

        site.assert_finalized(session, end)
        assert site.rows(session)[0].turns == 2
        assert one.say(session, "q2")["type"] == "run_succeeded"
        assert shown(daemon.calls(model)[-1]) == [*told(2), ("user", "q2")]
        site.assert_sound(one, session)
