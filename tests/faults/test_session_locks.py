"""Sessions on PostgreSQL whose rows another transaction has locked: data read before the wait is outdated after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from models.enums import TurnStatus
from tests.support.client import wait_until
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.session_client import SessionClient, says
from tests.support.session_site import Site, begun, demo_agent, on_postgresql, race, remembered

pytestmark = on_postgresql

HAMMERED_SECONDS = 6.0
PATIENCE = 10.0
"""Less than the time after which sweepers look for unfinalized turns."""


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def waiting_for_locks(watch: psycopg.Connection[tuple[int]]) -> Callable[[], bool]:
    count = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

    def is_one() -> bool:
        found = watch.execute(count).fetchone()
        return found is not None and found[0] == 1

    return is_one


def test_a_message_that_waited_for_its_session_while_the_last_turn_ended_has_the_whole_history(
    site: Site,
    clients: tuple[SessionClient, SessionClient],
    daemon: ScriptedDaemon,
    model: str,
    database_url: str,
) -> None:
    client, _ = clients
    session = begun(client, daemon, model, [{"wait": model}, *says("a1")], says("a2"))
    first = client.start(session, "q1")["run_id"]
    daemon.wait_for_call(model, count=2)

    with (
        psycopg.connect(database_url, autocommit=True) as watch,
        psycopg.connect(database_url) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        other.execute("SELECT 1 FROM sessions WHERE id = %s FOR UPDATE", [session])
        starting = pool.submit(client.start, session, "q2")
        wait_until(waiting_for_locks(watch))
        daemon.release(model)
        assert client.finish(first)["type"] == "run_succeeded"
        other.rollback()
        second = starting.result()["run_id"]

    assert client.finish(second)["type"] == "run_succeeded"
    turns = site.assert_sound(client, session)
    row, _ = site.rows(session)
    assert len(turns) == 3
    assert len(remembered(row.session_snapshot)) == 6


def test_a_locked_session_holds_up_no_other_one(
    site: Site, clients: tuple[SessionClient, SessionClient], database_url: str
) -> None:
    client, _ = clients
    agent = demo_agent(client, "one two", 5)
    free, locked = client.session(agent), client.session(agent)

    with psycopg.connect(database_url) as other:
        runs = [client.start(session, "a question")["run_id"] for session in (free, locked)]
        other.execute("SELECT 1 FROM sessions WHERE id = %s FOR UPDATE", [locked])
        for run in runs:
            assert client.finish(run)["type"] == "run_succeeded"

        wait_until(lambda: site.rows(free)[0].unfinished == 0, timeout=PATIENCE)

        assert site.rows(locked)[0].unfinished == 1
        other.rollback()
    wait_until(lambda: site.rows(locked)[0].unfinished == 0, timeout=PATIENCE)


def test_a_turn_that_succeeded_although_it_was_to_be_stopped_is_finalized_by_its_worker(
    site: Site,
    clients: tuple[SessionClient, SessionClient],
    daemon: ScriptedDaemon,
    model: str,
    database_url: str,
) -> None:
    client, _ = clients
    session = begun(client, daemon, model, [{"wait": model}, *says("a1")])
    run = client.start(session, "q1")["run_id"]
    daemon.wait_for_call(model, count=2)
    with psycopg.connect(database_url) as other:  # like a worker that dies before it cancels the run
        other.execute("UPDATE session_turns SET stop = 'interrupt' WHERE run_id = %s", [run])

    daemon.release(model)

    assert client.finish(run)["type"] == "run_succeeded"
    wait_until(lambda: site.rows(session)[1][1].status is TurnStatus.SUCCEEDED, timeout=PATIENCE)


def test_no_turn_is_lost_when_many_messages_arrive_at_a_busy_session(
    site: Site, clients: tuple[SessionClient, SessionClient]
) -> None:
    one, other = clients
    agent = demo_agent(one, "one two three", 5)
    sessions = [one.session(agent) for _ in range(3)]

    def knock(number: int) -> None:
        deadline = time.monotonic() + HAMMERED_SECONDS
        session, client = sessions[number // 3], (one, other, one)[number % 3]
        while time.monotonic() < deadline:
            client.call("POST", f"/sessions/{session}/runs", json={"query": "x", "multitask_strategy": "reject"})

    race(3 * len(sessions), knock)

    for session in sessions:
        assert len(site.assert_sound(one, session)) > 1
