"""Sessions while workers are killed, given up, frozen and ended: no turn is lost, doubled or left waiting."""

from __future__ import annotations

import signal
import time

import pytest

from tests.support.client import wait_until
from tests.support.gunicorn_server import running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.session_client import SessionClient, says, says_and_waits, shown
from tests.support.session_site import (
    ASKS,
    CONTACTS,
    LATE_SECONDS,
    NEVER,
    PREFIX,
    Site,
    begun,
    chat_of,
    has_said,
    on_postgresql,
    on_sqlite,
    statuses,
)


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@on_sqlite
def test_turns_in_line_go_on_after_the_one_that_runs_was_killed_with_its_worker(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    one, other = clients
    session = begun(one, daemon, model, says_and_waits("half", until=NEVER), says("a2"), says("a3"), says("a4"))
    first = one.start(session, "q1")
    waiting = [other.start(session, f"q{number}")["run_id"] for number in (2, 3, 4)]
    wait_until(has_said(one, first["run_id"]))

    site.kill_worker(site.one)
    ends = [other.finish(run_id)["type"] for run_id in waiting]

    assert ends == ["run_succeeded"] * 3
    assert statuses(site.assert_sound(other, session)) == [
        ("q0", "succeeded", None),
        ("q1", "failed", "worker_lost"),
        *[(f"q{number}", "succeeded", None) for number in (2, 3, 4)],
    ]
    frames = chat_of(other, session, first)
    assert [frame["event"] for frame in frames] == ["message", "error"]
    assert frames[0]["answer"] == "half"


@on_sqlite
def test_a_turn_in_line_outlives_the_worker_that_has_accepted_it(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    one, other = clients
    session = begun(one, daemon, model, says_and_waits("a1", until=model), says("a2"), says("a3"), says("a4"))
    first = other.start(session, "q1")["run_id"]
    waiting = [client.start(session, f"q{number}")["run_id"] for number, client in ((2, one), (3, other), (4, one))]

    site.kill_worker(site.one)
    assert [other.runs().page(run_id)["events"] for run_id in waiting] == [[], [], []]
    daemon.release(model)

    assert {other.finish(run_id)["type"] for run_id in [first, *waiting]} == {"run_succeeded"}
    assert statuses(site.assert_sound(other, session)) == [(f"q{number}", "succeeded", None) for number in range(5)]


@on_postgresql
@pytest.mark.parametrize("is_followed", [True, False])
def test_a_success_that_comes_after_its_worker_was_given_up_is_not_taken_over(
    site: Site,
    clients: tuple[SessionClient, SessionClient],
    daemon: ScriptedDaemon,
    model: str,
    is_followed: bool,
) -> None:
    """The next turn comes before or after the late worker continues."""
    one, other = clients
    late = [f"{model}-{number}" for number in range(4)]
    sessions = [begun(one, daemon, name, says_and_waits("half ", until=name, then="done"), says("a2")) for name in late]
    run_ids = [one.start(session, "q1")["run_id"] for session in sessions]
    for run_id in run_ids:
        wait_until(has_said(one, run_id))

    with site.stopped(site.one):
        for name in late:
            daemon.release(name)
        for run_id in run_ids:
            assert other.finish(run_id)["data"]["reason"] == "worker_lost"
        if is_followed:
            assert {other.say(session, "q2")["type"] for session in sessions} == {"run_succeeded"}
    wait_until(site.is_ready)
    for session in sessions:
        if not is_followed:
            assert other.say(session, "q2")["type"] == "run_succeeded"
        assert one.say(session, "q3")["type"] == "run_succeeded"

    for name, session in zip(late, sessions, strict=True):
        assert [status for _, status, _ in statuses(site.assert_sound(other, session))] == [
            "succeeded",
            "failed",
            "succeeded",
            "succeeded",
        ]
        assert [text for role, text in shown(daemon.calls(name)[-1]) if role == "user"] == ["q0", "q2", "q3"]


@on_sqlite
def test_a_turn_in_line_is_executed_once_though_the_worker_that_accepted_it_was_given_up_and_moves_again(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    one, other = clients
    session = begun(one, daemon, model, says_and_waits("a1", until=model), says("a2"), says("a3"), says("a4"))
    first, second = other.start(session, "q1")["run_id"], one.start(session, "q2")["run_id"]
    third = other.start(session, "q3")["run_id"]

    with site.stopped(site.one):
        daemon.release(model)
        assert {other.finish(run_id)["type"] for run_id in (first, second, third)} == {"run_succeeded"}
    wait_until(site.is_ready)
    assert one.say(session, "q4")["type"] == "run_succeeded"

    site.assert_sound(other, session)
    asked = [shown(call)[-1] for call in daemon.calls(model)]
    assert asked == [("user", f"q{number}") for number in range(5)]


@on_sqlite
def test_a_worker_that_was_given_up_takes_back_no_question_that_came_later(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    one, other = clients
    daemon.script(model, says_and_waits("a1", until=model), says("a2"), ASKS)
    session = one.session(one.scripted_agent(model, human=CONTACTS))
    first, second = other.start(session, "q1")["run_id"], one.start(session, "q2")["run_id"]
    third = other.start(session, "q3")["run_id"]

    with site.stopped(site.one):
        daemon.release(model)
        assert {other.finish(run_id)["type"] for run_id in (first, second, third)} == {"run_succeeded"}
        wait_until(lambda: site.rows(session)[0].waiting_form_id is not None)
        site.redis.delete(*site.redis.keys(f"{PREFIX}:workers:*:control"))  # it is not notified that it was given up
    wait_until(site.is_ready)
    time.sleep(LATE_SECONDS)  # by now it has seen that those before it have ended

    assert site.rows(session)[0].waiting_form_id is not None


@on_postgresql
def test_a_server_that_ends_lets_turns_go_on_for_its_grace_and_leaves_those_in_line_to_others(
    site: Site, daemon: ScriptedDaemon, model: str
) -> None:
    env = {**site.env, "DIFY_AGENT_SHUTDOWN_GRACE_SECONDS": "4"}
    with running_server(env) as ending:
        one = SessionClient(ending.url)
        other = SessionClient(site.other.url, tenant=one.tenant)
        answers = (
            says_and_waits("a1", until=model),
            says_and_waits("half", until=NEVER),
            *[says(f"a{n}") for n in (3, 4, 5)],
        )
        session = begun(one, daemon, model, *answers)
        run_ids = [one.start(session, f"q{number}")["run_id"] for number in (1, 2, 3)]
        run_ids.append(other.start(session, "q4")["run_id"])

        ending.send_signal(signal.SIGTERM)
        time.sleep(0.5)  # the server stops while the first turn still runs
        daemon.release(model)
        ends = [other.finish(run_id) for run_id in run_ids]
        ending.wait()
        assert "Traceback" not in ending.log

    assert [end["type"] for end in ends] == ["run_succeeded", "run_failed", "run_succeeded", "run_succeeded"]
    assert ends[1]["data"]["reason"] == "shutdown"
    assert other.say(session, "q5")["type"] == "run_succeeded"
    turns = site.assert_sound(other, session)
    assert [turn.error_reason for turn in turns] == [None, None, "shutdown", None, None, None]
