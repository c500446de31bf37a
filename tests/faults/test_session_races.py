"""Cancels, interrupts and rollbacks that race the end of a turn: a turn always agrees with its run."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from models.enums import TurnStatus
from tests.support.client import wait_until
from tests.support.gunicorn_server import running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.session_client import SessionClient, says, says_and_waits
from tests.support.session_site import (
    IS_SOAK,
    RACERS,
    Site,
    begun,
    demo_agent,
    has_said,
    holding_proxy,
    on_postgresql,
    on_sqlite,
    race,
    writes_refused,
)

CANCELS = 600 if IS_SOAK else 96
STOPS = 200 if IS_SOAK else 16
ATTEMPTS = 5
"""Requests are refused once Redis is away for a few seconds, and a busy machine may need longer; hence the retries."""


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def test_a_cancel_that_races_the_success_leaves_a_turn_as_its_run_and_the_session_with_it(
    site: Site, clients: tuple[SessionClient, SessionClient]
) -> None:
    agent = demo_agent(clients[0], "one two three", 15)
    sessions = [clients[0].session(agent) for _ in range(RACERS)]
    ended: list[str] = []

    def racer(number: int) -> None:
        starts, cancels = clients if number % 2 else clients[::-1]
        seconds = length_of_turn(starts, sessions[number])
        for turn in range(CANCELS // RACERS):
            run_id = starts.start(sessions[number], f"q{turn}")["run_id"]
            time.sleep((7 * turn + number) % 31 / 20 * seconds)
            cancels.runs().cancel(run_id)
            ended.append(cancels.finish(run_id)["type"])
            starts.turns(sessions[number])

    race(RACERS, racer)

    assert set(ended) == {"run_succeeded", "run_cancelled"}
    for session in sessions:
        for turn in site.assert_sound(clients[1], session):
            events = clients[0].runs().page(turn.run_id, limit=100)["events"]
            assert turn.answer == streamed(events)


def length_of_turn(client: SessionClient, session_id: str) -> float:
    """The seconds that a turn takes on this machine, while others run too."""
    begun_at = time.monotonic()
    assert client.say(session_id, "How long?")["type"] == "run_succeeded"
    return time.monotonic() - begun_at


def streamed(events: list[dict[str, Any]]) -> str:
    """The text in a run's events."""
    text = ""
    for event in events:
        data = event["data"]
        match data.get("event_kind"):
            case "part_start":
                text += data["part"].get("content", "")
            case "part_delta":
                text += data["delta"].get("content_delta", "")
    return text


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
def test_two_turns_that_stop_the_one_that_ends_leave_it_whole_or_stopped(
    site: Site, clients: tuple[SessionClient, SessionClient], strategy: str
) -> None:
    agent = demo_agent(clients[0], "one two three", 15)
    sessions = [clients[0].session(agent) for _ in range(STOPS)]

    def racer(number: int) -> None:
        session = sessions[number]
        seconds = length_of_turn(clients[0], session)
        clients[number % 2].start(session, "q1")
        time.sleep((number // 2 + 1) / STOPS * 3 * seconds)

        def stop(query: str, client: SessionClient) -> str:
            return str(client.start(session, query, multitask_strategy=strategy)["run_id"])

        with ThreadPoolExecutor(2) as callers:
            run_ids = list(callers.map(stop, ("q2", "q3"), clients))
        for run_id in run_ids:
            clients[number % 2].finish(run_id)

    race(STOPS, racer)

    for session in sessions:
        turns = site.assert_sound(clients[0], session)
        assert turns[-1].status is TurnStatus.SUCCEEDED
        stopped = [turn.query for turn in turns if turn.status is TurnStatus.CANCELLED]
        assert stopped == [] if strategy == "rollback" else len(turns) == 4


@on_postgresql
def test_what_an_owner_prepares_while_somebody_finalizes_its_cancelled_turn_is_dropped(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str, database_url: str
) -> None:
    one, other = clients
    session = begun(one, daemon, model, [{"wait": model}, *says("done")])
    run_id = one.start(session, "q1")["run_id"]
    daemon.wait_for_call(model, count=2)

    def waiting() -> int:
        found = watch.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
        return int(found[0]) if found else 0

    with (
        psycopg.connect(database_url, autocommit=True) as watch,
        psycopg.connect(database_url) as locks,
        ThreadPoolExecutor(1) as pool,
    ):
        locks.execute("SELECT 1 FROM session_turns WHERE run_id = %s FOR UPDATE", [run_id])
        daemon.release(model)
        wait_until(lambda: waiting() == 1)
        assert other.runs().cancel(run_id).status_code == 200
        reading = pool.submit(other.turns, session)
        wait_until(lambda: waiting() >= 2)  # a worker that hears of the end finalizes it too
        locks.rollback()
        turn = reading.result()[1]

    assert (turn["status"], turn["usage"]) == ("cancelled", None)
    site.assert_sound(one, session)


@on_sqlite
def test_a_turn_that_waits_sees_the_end_of_the_one_before_at_whatever_moment_it_comes(
    site: Site, daemon: ScriptedDaemon, model: str
) -> None:
    """The turn ends, and its end is announced, before the one behind it is in line."""
    with holding_proxy(site.redis_server.url) as proxy, ExitStack() as stack:
        env = {**site.env, "DIFY_AGENT_REDIS_URL": proxy.url}
        behind = SessionClient(stack.enter_context(running_server(env)).url)
        one = SessionClient(site.one.url, tenant=behind.tenant)
        session = begun(one, daemon, model, says_and_waits("a1", until=model), says("a2"))
        first = one.start(session, "q1")["run_id"]

        proxy.hold(b'"waits":true')
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(behind.start, session, "q2")
            assert proxy.held.wait(20)
            daemon.release(model)
            one.finish(first)
            wait_until(lambda: site.rows(session)[1][1].status is TurnStatus.SUCCEEDED)
            proxy.release()
            second = starting.result()["run_id"]

        wait_until(lambda: one.runs().status(second)["status"] == "succeeded", timeout=10)
        site.assert_sound(one, session)


@on_postgresql
@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
def test_a_turn_that_is_stopped_before_its_run_is_stored_is_stopped_all_the_same(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str, strategy: str
) -> None:
    one, other = clients
    agent = demo_agent(one, "word " * 600, 100)

    def stop_unstored() -> tuple[str, str, str] | None:
        """Returns the session and both runs; None when one of the turns was refused."""
        session = one.session(agent)
        with writes_refused(site), ThreadPoolExecutor(2) as pool:
            path, stops = f"/sessions/{session}/runs", {"query": "q2", "multitask_strategy": strategy}
            starting = pool.submit(one.call, "POST", path, json={"query": "q1"})
            wait_until(lambda: len(site.rows(session)[1]) == 1 or starting.done())
            stopping = pool.submit(other.call, "POST", path, json=stops)
            wait_until(lambda: len(site.rows(session)[1]) == 2 or starting.done())
            site.redis.execute_command("CLIENT", "UNPAUSE")
            answers = [starting.result(), stopping.result()]
        runs = [answer.json()["run_id"] for answer in answers if answer.status_code == 202]
        if len(runs) < len(answers):
            one.call("DELETE", f"/sessions/{session}?cancel=true")
            return None
        return session, runs[0], runs[1]

    session, first, second = next(tried for _ in range(ATTEMPTS) if (tried := stop_unstored()) is not None)
    assert other.finish(first)["type"] == "run_cancelled"
    wait_until(has_said(one, second))
    one.runs().cancel(second)
    site.assert_sound(one, session)
