"""Successful turns are finalized a moment later, together or by the next message, and no caller can tell."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from models import AgentSession, HumanInputForm, SessionTurn
from models.enums import FormStatus, TurnStatus
from tests.support.chat_client import ChatClient
from tests.support.client import wait_until
from tests.support.gunicorn_server import running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.session_client import SessionClient, says, says_and_waits, shown
from tests.support.session_site import (
    ASKS,
    CONTACTS,
    IS_SOAK,
    LATE,
    SOON_SECONDS,
    Site,
    begun,
    has_said,
    race,
    told,
)

AT_ONCE = 30
MESSAGES = 100 if IS_SOAK else 15
STOPS = 100 if IS_SOAK else 12
DELETES = 100 if IS_SOAK else 10


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def test_a_turn_that_nobody_looks_at_is_finalized_by_its_worker_a_moment_later(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    session = begun(clients[0], daemon, model, says("a1"))
    wait_until(lambda: site.is_finalized(session), timeout=SOON_SECONDS)

    end = clients[0].say(session, "q1")
    wait_until(lambda: site.is_finalized(session), timeout=SOON_SECONDS)

    site.assert_finalized(session, end)


def test_turns_of_many_sessions_that_end_together_are_finalized_though_nobody_looks_at_them(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    one = clients[0]
    daemon.script(model, says_and_waits("a0", until=model))
    agent = one.scripted_agent(model)
    sessions = [one.session(agent) for _ in range(AT_ONCE)]
    run_ids = [one.start(session, "q0")["run_id"] for session in sessions]
    for run_id in run_ids:
        wait_until(has_said(one, run_id))

    daemon.release(model)
    ends = [one.finish(run_id) for run_id in run_ids]
    wait_until(lambda: all(site.is_finalized(session) for session in sessions), timeout=SOON_SECONDS)

    for session, end in zip(sessions, ends, strict=True):
        site.assert_finalized(session, end)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_message_sent_when_the_last_ones_end_is_seen_finalizes_it_and_sees_its_history(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str, workers: int
) -> None:
    one = clients[0]
    names = [f"{model}-{number}" for number in range(MESSAGES)]
    daemon.script(model, *[says_and_waits(f"a{number}", until=name) for number, name in enumerate(names)])
    session = one.session(one.scripted_agent(model))

    for number, name in enumerate(names):
        client = clients[number % workers]
        run_id = client.start(session, f"q{number}")["run_id"]
        row, turns = site.rows(session)
        assert [turn.status for turn in turns] == [TurnStatus.SUCCEEDED] * number + [TurnStatus.RUNNING]
        assert (row.unfinished, row.turns) == (1, number + 1)
        daemon.wait_for_call(model, count=number + 1)
        daemon.release(name)
        assert client.finish(run_id)["type"] == "run_succeeded"

    assert [shown(call) for call in daemon.calls(model)] == [
        [*told(number), ("user", f"q{number}")] for number in range(MESSAGES)
    ]
    site.assert_sound(one, session)


def test_a_turn_that_is_rolled_back_at_the_moment_of_its_end_is_whole_or_gone(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    """The first turn is stopped before it can end, and the last one after its end was seen."""
    one, other = clients
    names = [f"{model}-{number}" for number in range(STOPS)]
    sessions = [begun(one, daemon, name, says_and_waits("a1", until=name), says("a2")) for name in names]

    def roll_back(number: int) -> str:
        run_id: str = other.start(sessions[number], "q2", multitask_strategy="rollback")["run_id"]
        return run_id

    def racer(number: int) -> None:
        first = one.start(sessions[number], "q1")["run_id"]
        wait_until(has_said(one, first))
        second = roll_back(number) if number == 0 else None
        daemon.release(names[number])
        if number == STOPS - 1:
            one.finish(first)
        time.sleep(number * 0.004)
        ends = [other.finish(run_id) for run_id in (second or roll_back(number), first)]
        assert ends[0]["type"] == "run_succeeded"

    for number in range(STOPS):
        racer(number)

    turns = [site.assert_sound(one, session) for session in sessions]
    assert {turn.stop for found in turns for turn in found} == {None}
    kept = [[turn.query for turn in found] for found in turns]
    assert {tuple(queries) for queries in kept} == {("q0", "q2"), ("q0", "q1", "q2")}
    assert [len(kept[0]), len(kept[-1])] == [2, 3]


def test_a_session_that_is_deleted_when_its_turns_end_was_seen_is_gone(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("a0"))
    agent = clients[0].scripted_agent(model)
    sessions = [clients[0].session(agent) for _ in range(DELETES)]
    seen = [len(server.log) for server in (site.one, site.other)]

    def end(number: int) -> None:
        assert clients[0].say(sessions[number], "q0", idempotency_key="k")["type"] == "run_succeeded"
        assert clients[number % 2].call("DELETE", f"/sessions/{sessions[number]}").status_code == 204
        clients[number % 2].refused("GET", f"/sessions/{sessions[number]}", 404, "session_not_found")

    race(DELETES, end)
    wait_until(lambda: rows_left(site, sessions) == 0, timeout=SOON_SECONDS)
    time.sleep(1)  # by now every pending finalization has been tried

    assert rows_left(site, sessions) == 0
    for server, length in zip((site.one, site.other), seen, strict=True):
        assert "ERROR" not in server.log[length:]


def rows_left(site: Site, sessions: list[str]) -> int:
    owners = (AgentSession.id, SessionTurn.session_id, HumanInputForm.session_id)
    with site.database.reading() as rows:
        return sum(rows.scalar(select(func.count()).where(owner.in_(sessions))) or 0 for owner in owners)


def test_a_question_is_a_form_at_once_though_nobody_reads_its_session(
    site: Site, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, ASKS)
    with running_server(site.env, app=LATE) as late:
        client = SessionClient(late.url)
        session = client.session(client.scripted_agent(model, human=CONTACTS))

        end = client.say(session, "q0")
        wait_until(lambda: site.is_finalized(session), timeout=SOON_SECONDS)

        site.assert_finalized(session, end)
        assert site.rows(session)[0].waiting_form_id is not None


def test_questions_of_many_conversations_are_forms_when_their_ends_are_seen(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    """This includes questions whose turns end together with turns that have asked nothing."""
    daemon.script(model, [{"wait": model}, *ASKS])
    daemon.script(f"{model}-plain", says_and_waits("a0", until=model))
    asking = ChatClient(clients[0], model, human=CONTACTS)
    plain = ChatClient(clients[0], f"{model}-plain")

    def speak(number: int) -> None:
        last = (asking if number % 3 else plain).say(user=f"user-{number}").last
        row, (turn,) = site.rows(last["conversation_id"])
        assert last["event"] == "message_end"
        if number % 3 == 0:
            assert "human_input" not in last["metadata"]
            return
        assert (row.unfinished, turn.status, turn.prepared_snapshot) == (0, TurnStatus.SUCCEEDED, None)
        with site.database.reading() as rows:
            (form,) = rows.scalars(select(HumanInputForm).where(HumanInputForm.turn_id == turn.id))
        assert (form.id, form.status) == (row.waiting_form_id, FormStatus.WAITING)
        assert form.token == last["metadata"]["human_input"]["form_token"]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        speaking = [pool.submit(speak, number) for number in range(AT_ONCE)]
        daemon.wait_for_call(model, count=AT_ONCE - AT_ONCE // 3)
        daemon.wait_for_call(f"{model}-plain", count=AT_ONCE // 3)
        daemon.release(model)
        for spoken in speaking:
            spoken.result()
