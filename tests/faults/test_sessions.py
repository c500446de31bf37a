"""Sessions while workers, Redis and the database fail: no turn is lost, doubled or left waiting, and none seems to be
what its run is not.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
from psycopg import sql
from redis import Redis
from sqlalchemy import func, select, update

from models import AgentSession, SessionTurn
from models.enums import TurnStatus, TurnStop
from runtime.protocol.dialects import Dialect
from runtime.protocol.ids import new_id
from runtime.protocol.records import RunRecord
from services.database import Database
from tests.conftest import Setting, environment
from tests.support.agent_client import ADMIN_TOKEN
from tests.support.agent_server import SECRET_KEYS
from tests.support.chat_client import parse_chat
from tests.support.client import wait_until
from tests.support.databases import POSTGRESQL, SQLITE, open_database, sqlite_file
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import USAGE, Answer, ScriptedDaemon
from tests.support.redis_cluster import running_cluster
from tests.support.redis_server import RedisServer, running_redis
from tests.support.session_client import SessionClient, says, says_and_waits, scripted_soul, shown

IS_SOAK = os.environ.get("GREENRUN_SOAK") == "1"
CANCELS = 600 if IS_SOAK else 96
STOPS = 200 if IS_SOAK else 16
SESSIONS = 200 if IS_SOAK else 16
DROPS_SECONDS = 60.0 if IS_SOAK else 4.0
RACERS = 8

NEVER = "never"

PREFIX = "session-faults"
LEASE_SECONDS = 3
DATABASE_SECONDS = 2
SETTLED_SECONDS = 60.0
LATE_SECONDS = 1.0
BUFFER_BYTES = 65_536
ENDED = {"succeeded", "failed", "cancelled"}

CONTACTS = {"contacts": [{"id": "c1", "name": "Bo", "email": "bo@example.com"}]}
QUESTION = {"question": "Which?", "fields": [], "actions": [{"id": "go", "label": "Go"}]}
ASKED = {"id": "call-1", "name": "ask_human", "arguments": json.dumps(QUESTION)}
ASKS: Answer = [{"tool_call": ASKED}, {"finish": "tool_calls", "usage": USAGE}]
"""A model's question to a person."""

on_sqlite = pytest.mark.parametrize("database_kind", [SQLITE], indirect=True)
on_postgresql = pytest.mark.parametrize("database_kind", [POSTGRESQL], indirect=True)


@dataclass
class Site:
    """``one`` and ``other`` are servers of one worker each."""

    one: GunicornServer
    other: GunicornServer
    redis_server: RedisServer
    redis: Redis
    database: Database
    env: dict[str, str]

    def clients(self) -> tuple[SessionClient, SessionClient]:
        """Clients of both servers for one new tenant."""
        first = SessionClient(self.one.url)
        return first, SessionClient(self.other.url, tenant=first.tenant)

    def worker(self, server: GunicornServer) -> int:
        (worker,) = server.workers()
        return worker

    def kill_worker(self, server: GunicornServer) -> None:
        os.kill(self.worker(server), signal.SIGKILL)

    @contextmanager
    def stopped(self, server: GunicornServer) -> Iterator[None]:
        """Its worker does not move for the time of the block."""
        worker = self.worker(server)
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)

    def rows(self, session_id: str) -> tuple[AgentSession, list[SessionTurn]]:
        """A session and its turns as they are stored, whoever would have to settle them."""
        with self.database.reading() as session:
            row = session.get_one(AgentSession, session_id)
            wanted = select(SessionTurn).where(SessionTurn.session_id == session_id).order_by(SessionTurn.position)
            return row, list(session.scalars(wanted))

    def counts(self) -> tuple[int, int]:
        """How many sessions and turns there are of anybody."""
        with self.database.reading() as session:
            tables = (AgentSession, SessionTurn)
            sessions, turns = (session.scalar(select(func.count()).select_from(table)) or 0 for table in tables)
            return sessions, turns

    def record(self, run_id: str) -> dict[str, Any] | None:
        raw = self.redis.get(f"{PREFIX}:runs:{run_id}:record")
        return json.loads(raw) if raw is not None else None

    def is_ready(self) -> bool:
        """Whether both servers most likely are."""
        return all(
            requests.get(f"{server.url}/ready", timeout=30).status_code == 200
            for server in (self.one, self.other)
            for _ in range(2)
        )

    def assert_sound(self, client: SessionClient, session_id: str) -> list[SessionTurn]:
        """All turns are settled as their runs have ended, and the session remembers just what it has to."""
        wait_until(lambda: {turn["status"] for turn in client.turns(session_id)} <= ENDED, timeout=SETTLED_SECONDS)
        row, turns = self.rows(session_id)
        assert row.unfinished == 0
        positions = [turn.position for turn in turns]
        assert positions == sorted(set(positions))
        for turn in turns:
            record = self.record(turn.run_id)
            assert record is None or turn.status == record["status"]
            assert turn.prepared_snapshot is None
            assert turn.usage is None or turn.status is TurnStatus.SUCCEEDED
        assert remembered(row.session_snapshot) == [
            said for turn in turns if self._is_kept(client, turn) for said in said_in(turn)
        ]
        return turns

    def _is_kept(self, client: SessionClient, turn: SessionTurn) -> bool:
        if turn.status is TurnStatus.CANCELLED and turn.stop is TurnStop.INTERRUPT:
            return client.runs().page(turn.run_id)["events"][0]["type"] == "run_started"
        return turn.status is TurnStatus.SUCCEEDED


@contextmanager
def running_site(daemon: ScriptedDaemon, database_url: str, **settings: Setting) -> Iterator[Site]:
    database = open_database(database_url)
    with running_redis(persistent=True) as redis_server, ExitStack() as stack:
        stack.callback(database.close)
        env = session_environment(redis_server.url, daemon, database_url, **settings)
        one, other = (stack.enter_context(running_server(env)) for _ in range(2))
        yield Site(one, other, redis_server, redis_server.client(), database, env)


def session_environment(
    redis_url: str, daemon: ScriptedDaemon, database_url: str, **settings: Setting
) -> dict[str, str]:
    known: dict[str, Setting] = {
        "redis_prefix": PREFIX,
        "admin_token": ADMIN_TOKEN,
        "database_url": database_url,
        "database_timeout_seconds": DATABASE_SECONDS,
        "secret_keys": SECRET_KEYS,
        "lease_seconds": LEASE_SECONDS,
        "human_input_conflict": "cancel",
    }
    return environment(redis_url, daemon.url, **{**known, **settings})


def remembered(snapshot: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What a session has in its history, as roles and texts."""
    layers = {layer["name"]: layer["runtime_state"] for layer in (snapshot or {"layers": []})["layers"]}
    messages = layers.get("history", {}).get("messages", [])
    return [(message["kind"], _text(message)) for message in messages]


def said_in(turn: SessionTurn) -> list[tuple[str, str]]:
    """What a history has of a turn that it keeps."""
    return [("request", turn.query), *([("response", turn.answer)] if turn.answer else [])]


def _text(message: dict[str, Any]) -> str:
    return "".join(part["content"] for part in message["parts"])


class HoldingProxy:
    """Forwards connections to one server. Between ``hold`` and ``release`` the connection that sends ``needle`` waits.

    ``held`` is set once one does; ``url`` is where to connect, by the scheme and path of the target.
    """

    def __init__(self, target: str) -> None:
        address = urlsplit(target)
        self._target = (address.hostname or "", address.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._needle: bytes | None = None
        self._go_on = threading.Event()
        self.held = threading.Event()
        self.url = address._replace(netloc=f"127.0.0.1:{self._listener.getsockname()[1]}").geturl()
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, needle: bytes) -> None:
        self._go_on.clear()
        self.held.clear()
        self._needle = needle

    def release(self) -> None:
        self._needle = None
        self._go_on.set()

    def close(self) -> None:
        self.release()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was shut
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for source, sink, can_hold in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._forward, args=(source, sink, can_hold), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, can_hold: bool) -> None:
        with suppress(OSError):  # one side has gone
            while data := source.recv(BUFFER_BYTES):
                if can_hold and self._needle is not None and self._needle in data:
                    self.held.set()
                    self._go_on.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def holding_proxy(target: str) -> Iterator[HoldingProxy]:
    """Run a proxy before the server at the URL ``target`` for the time of the block."""
    proxy = HoldingProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture(scope="module")
def shared_site(daemon: ScriptedDaemon, database_url: str) -> Iterator[Site]:
    with running_site(daemon, database_url) as site:
        yield site


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """Whole before each test, and without a traceback after it."""
    wait_until(shared_site.is_ready, timeout=60)
    seen = [len(server.log) for server in (shared_site.one, shared_site.other)]

    yield shared_site

    for server, length in zip((shared_site.one, shared_site.other), seen, strict=True):
        assert "Traceback" not in server.log[length:]


@pytest.fixture
def clients(site: Site) -> tuple[SessionClient, SessionClient]:
    return site.clients()


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def begun(client: SessionClient, daemon: ScriptedDaemon, model: str, *answers: Any) -> str:
    """A session that has one good turn, of a model that then gives these answers."""
    daemon.script(model, says("a0"), *answers)
    session = client.session(client.scripted_agent(model, name=model[-40:]))
    assert client.say(session, "q0")["type"] == "run_succeeded"
    return session


def demo_agent(client: SessionClient, answer: str, delay_ms: int) -> dict[str, Any]:
    """An agent whose model needs so long for each word, without a network."""
    named = {"plugin_id": "greenrun/demo", "model_provider": "greenrun", "model": "demo"}
    model = {**named, "model_settings": {"answer": answer, "delay_ms": delay_ms}}
    return client.json("POST", "/agents", 201, json={"name": "Demo", "agent_soul": {"model": model}})


def statuses(turns: list[SessionTurn]) -> list[tuple[str, str, str | None]]:
    return [(turn.query, turn.status, turn.error_reason) for turn in turns]


def has_said(client: SessionClient, run_id: str) -> Callable[[], bool]:
    return lambda: len(client.runs().page(run_id)["events"]) > 1


def race(count: int, racer: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(RACERS) as racers:
        list(racers.map(racer, range(count)))


def backdate(site: Site, *run_ids: str) -> None:
    """Make it seem a while since these turns were accepted."""
    then = datetime.now(UTC) - timedelta(minutes=1)
    with site.database.transaction() as session:
        aged = update(SessionTurn).where(SessionTurn.run_id.in_(run_ids))
        session.execute(aged.values(created_at=then, updated_at=then))


# Workers that are killed, stopped and ended


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
def test_turns_in_line_go_on_after_one_of_them_was_killed_with_its_worker(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    one, other = clients
    session = begun(one, daemon, model, says_and_waits("a1", until=model), says("a3"), says("a4"))
    first = other.start(session, "q1")["run_id"]
    lost = one.start(session, "q2")["run_id"]
    waiting = [other.start(session, f"q{number}")["run_id"] for number in (3, 4)]

    site.kill_worker(site.one)
    assert other.finish(lost)["data"]["reason"] == "worker_lost"
    assert [other.runs().page(run_id)["events"] for run_id in waiting] == [[], []]
    daemon.release(model)

    assert {other.finish(run_id)["type"] for run_id in [first, *waiting]} == {"run_succeeded"}
    assert statuses(site.assert_sound(other, session))[2] == ("q2", "failed", "worker_lost")


@on_postgresql
@pytest.mark.parametrize("is_followed", [True, False])
def test_a_success_that_comes_after_its_worker_was_given_up_is_not_taken_over(
    site: Site,
    clients: tuple[SessionClient, SessionClient],
    daemon: ScriptedDaemon,
    model: str,
    is_followed: bool,
) -> None:
    """The next turn comes before the late worker moves again, or after it."""
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
def test_a_turn_whose_worker_was_given_up_while_it_waited_does_nothing_when_it_moves_again(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    one, other = clients
    session = begun(one, daemon, model, says_and_waits("a1", until=model), says("a3"))
    first, lost = other.start(session, "q1")["run_id"], one.start(session, "q2")["run_id"]
    third = other.start(session, "q3")["run_id"]

    with site.stopped(site.one):
        assert other.finish(lost)["data"]["reason"] == "worker_lost"
        daemon.release(model)
        assert {other.finish(run_id)["type"] for run_id in (first, third)} == {"run_succeeded"}
    wait_until(site.is_ready)
    assert one.say(session, "q4")["type"] == "run_succeeded"

    site.assert_sound(other, session)
    asked = [shown(call)[-1] for call in daemon.calls(model)]
    assert asked == [("user", f"q{number}") for number in (0, 1, 3, 4)]


@on_sqlite
def test_a_turn_whose_worker_was_given_up_takes_back_no_question_that_came_later(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    one, other = clients
    daemon.script(model, says_and_waits("a1", until=model), ASKS)
    session = one.session(one.scripted_agent(model, human=CONTACTS))
    first, lost = other.start(session, "q1")["run_id"], one.start(session, "q2")["run_id"]
    third = other.start(session, "q3")["run_id"]

    with site.stopped(site.one):
        assert other.finish(lost)["data"]["reason"] == "worker_lost"
        daemon.release(model)
        assert {other.finish(run_id)["type"] for run_id in (first, third)} == {"run_succeeded"}
        wait_until(lambda: site.rows(session)[0].waiting_form_id is not None)
        site.redis.delete(*site.redis.keys(f"{PREFIX}:workers:*:control"))  # nobody tells it that it was given up
    wait_until(site.is_ready)
    time.sleep(LATE_SECONDS)  # it has seen by now that those before it have ended

    assert site.rows(session)[0].waiting_form_id is not None


@on_postgresql
def test_a_server_that_ends_lets_turns_go_on_for_its_grace_and_fails_the_rest(
    site: Site, daemon: ScriptedDaemon, model: str
) -> None:
    env = {**site.env, "DIFY_AGENT_SHUTDOWN_GRACE_SECONDS": "4"}
    with running_server(env) as ending:
        one = SessionClient(ending.url)
        other = SessionClient(site.other.url, tenant=one.tenant)
        answers = (says_and_waits("a1", until=model), says_and_waits("half", until=NEVER), says("a5"), says("a6"))
        session = begun(one, daemon, model, *answers)
        run_ids = [one.start(session, f"q{number}")["run_id"] for number in (1, 2, 3)]
        run_ids.append(other.start(session, "q4")["run_id"])

        ending.send_signal(signal.SIGTERM)
        time.sleep(0.5)  # it stops, and the first turn still runs
        daemon.release(model)
        ends = [other.finish(run_id) for run_id in run_ids]
        ending.wait()
        assert "Traceback" not in ending.log

    assert [end["type"] for end in ends] == ["run_succeeded", "run_failed", "run_failed", "run_succeeded"]
    assert {end["data"]["reason"] for end in ends[1:3]} == {"shutdown"}
    assert other.say(session, "q5")["type"] == "run_succeeded"
    turns = site.assert_sound(other, session)
    assert [turn.error_reason for turn in turns] == [None, None, "shutdown", "shutdown", None, None]


# Races


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
    """How many seconds a turn takes on this machine, while others have theirs."""
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
def test_what_an_owner_prepares_while_somebody_settles_its_cancelled_turn_is_dropped(
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
        wait_until(lambda: waiting() == 2)
        locks.rollback()
        turn = reading.result()[1]

    assert (turn["status"], turn["usage"]) == ("cancelled", None)
    site.assert_sound(one, session)


@on_sqlite
def test_a_turn_that_waits_sees_the_end_of_the_one_before_at_whatever_moment_it_comes(
    site: Site, daemon: ScriptedDaemon, model: str
) -> None:
    """It ends between two looks at it."""
    with holding_proxy(site.redis_server.url) as proxy, ExitStack() as stack:
        env = {**site.env, "DIFY_AGENT_REDIS_URL": proxy.url}
        behind = SessionClient(stack.enter_context(running_server(env)).url)
        one = SessionClient(site.one.url, tenant=behind.tenant)
        session = begun(one, daemon, model, says_and_waits("a1", until=model), says("a2"))
        first = one.start(session, "q1")["run_id"]

        proxy.hold(b"XREVRANGE")
        second = behind.start(session, "q2")["run_id"]
        assert proxy.held.wait(20)
        daemon.release(model)
        one.finish(first)
        proxy.release()

        wait_until(lambda: one.runs().status(second)["status"] == "succeeded", timeout=10)
        site.assert_sound(one, session)


# Requests that are refused, and interrupts that come early


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


@contextmanager
def writes_refused(site: Site) -> Iterator[None]:
    """Redis takes no writes for the time of the block, which wait until their callers give up."""
    site.redis.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
    try:
        yield
    finally:
        site.redis.execute_command("CLIENT", "UNPAUSE")


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
    """Make it seem a while since it was deleted, or last looked at."""
    with site.database.transaction() as session:
        aged = update(AgentSession).where(AgentSession.id == session_id)
        session.execute(aged.values(updated_at=datetime.now(UTC) - timedelta(minutes=1)))


def has_rows(site: Site, session_id: str) -> bool:
    with site.database.reading() as session:
        return session.get(AgentSession, session_id) is not None


@on_postgresql
@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
def test_a_turn_that_is_stopped_before_its_run_is_stored_is_stopped_all_the_same(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str, strategy: str
) -> None:
    one, other = clients
    session = one.session(demo_agent(one, "word " * 600, 100))
    with writes_refused(site), ThreadPoolExecutor(2) as pool:
        starting = pool.submit(one.start, session, "q1")
        wait_until(lambda: len(site.rows(session)[1]) == 1)
        stopping = pool.submit(other.start, session, "q2", multitask_strategy=strategy)
        wait_until(lambda: len(site.rows(session)[1]) == 2)
        site.redis.execute_command("CLIENT", "UNPAUSE")
        first, second = starting.result()["run_id"], stopping.result()["run_id"]

    assert other.finish(first)["type"] == "run_cancelled"
    wait_until(has_said(one, second))
    one.runs().cancel(second)
    site.assert_sound(one, session)


# Redis and the database


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
    time.sleep(0.5)  # for now the runs of the turns before it may still come
    assert other.runs().page(fourth["run_id"])["events"] == []
    backdate(site, *run_ids)

    assert one.finish(fourth["run_id"])["type"] == "run_succeeded"
    assert statuses(site.assert_sound(one, session))[1:] == [
        *[(f"q{number}", "failed", "run_gone") for number in (1, 2, 3)],
        ("q4", "succeeded", None),
    ]
    assert shown(daemon.calls(model)[-1]) == [("user", "q0"), ("assistant", "a0"), ("user", "q4")]


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
            time.sleep(0.5)  # the model's answer has been taken, and its turn is being prepared
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
            time.sleep(LATE_SECONDS)  # the reader is there
            daemon.release(model)
            broken = reading.result()

    assert broken[-1]["event"] == "error"
    assert chat_of(other, session, turn)[-1]["metadata"]["human_input"]["form_token"]


def chat_of(client: SessionClient, session_id: str, turn: dict[str, Any]) -> list[dict[str, Any]]:
    """A turn as the frames of a chat, read to their end."""
    path = f"/sessions/{session_id}/turns/{turn['turn_id']}/chat-events"
    with client.call("GET", path, stream=True) as response:
        return list(parse_chat(response.iter_content(None)))


@contextmanager
def sqlite_locked(url: str) -> Iterator[None]:
    """Somebody else writes to the file for the time of the block."""
    connection = sqlite3.connect(sqlite_file(url), isolation_level=None, timeout=30)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


@contextmanager
def database_away(url: str) -> Iterator[None]:
    """No transaction that changes something is possible, and on PostgreSQL none at all."""
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


def test_a_turn_that_succeeds_while_the_database_is_away_is_settled_when_it_is_back(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str, database_url: str
) -> None:
    one, other = clients
    session = begun(one, daemon, model, says_and_waits("a1", until=model), says("a2"), says("a3"))
    first, second = one.start(session, "q1")["run_id"], other.start(session, "q2")["run_id"]
    wait_until(has_said(one, first))
    site.database.close()  # or this test's own connections would be among those that are dropped

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
    seen = len(site.other.log)

    with psycopg.connect(database_url) as locks:
        locks.execute("LOCK TABLE agent_config_snapshots IN ACCESS EXCLUSIVE MODE")
        daemon.release(model)
        assert one.finish(first)["type"] == "run_succeeded"
        wait_until(lambda: "WARNING services.database" in site.other.log[seen:])

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
    """Runs of turns that were stored although the answer to that was lost."""
    return [turn.run_id for session in sessions for turn in site.rows(session)[1] if not site.record(turn.run_id)]


@on_sqlite
def test_a_turn_that_nobody_asks_for_is_settled_however_many_run_for_long(
    site: Site, clients: tuple[SessionClient, SessionClient]
) -> None:
    client = clients[0]
    agent = client.agent()
    long_ago = datetime.now(UTC) - timedelta(hours=1)

    def add(count: int, moment: datetime) -> list[str]:
        run_ids = [new_id() for _ in range(count)]
        with site.database.transaction() as session:
            for run_id in run_ids:
                row = AgentSession(
                    id=new_id(),
                    tenant_id=client.tenant,
                    agent_id=agent["id"],
                    version_id=agent["active_config_snapshot_id"],
                    turns=1,
                    unfinished=1,
                )
                session.add(row)
                session.flush()
                times = {"created_at": moment, "updated_at": moment}
                ids = {"run_id": run_id, "task_id": new_id(), "session_id": row.id, "tenant_id": client.tenant}
                session.add(SessionTurn(position=1, query="?", **ids, **times))
        return run_ids

    running = add(120, long_ago)
    for run_id in running:
        record = RunRecord.begin(run_id, dialect=Dialect.CURRENT, worker="somebody", tenant_id=client.tenant)
        site.redis.set(f"{PREFIX}:runs:{run_id}:record", record.model_dump_json(), ex=120)
    (left,) = add(1, long_ago + timedelta(minutes=1))

    def status(run_id: str) -> str:
        with site.database.reading() as session:
            return str(session.query(SessionTurn.status).filter_by(run_id=run_id).scalar())

    wait_until(lambda: status(left) == "failed", timeout=40)
    assert {status(run_id) for run_id in running} == {"running"}


# Many of them, and a cluster


def test_many_sessions_on_two_servers_have_every_turn_in_their_history(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    """Each turn starts at once after the one before, or while it runs, wherever that is."""
    daemon.script(model, says("yes", pause=0.01))
    agent = clients[0].scripted_agent(model)
    sessions = [clients[0].session(agent) for _ in range(SESSIONS)]

    def speak(number: int) -> None:
        run_id = clients[number % 2].start(sessions[number], "q0")["run_id"]
        if number % 3:
            clients[0].finish(run_id)
        second = clients[1 - number % 2].start(sessions[number], "q1")["run_id"]
        third = clients[number % 2].start(sessions[number], "q2")["run_id"]
        for one in (run_id, second, third):
            assert clients[0].finish(one)["type"] == "run_succeeded"

    race(SESSIONS, speak)

    for session in sessions:
        assert [turn.query for turn in site.assert_sound(clients[1], session)] == ["q0", "q1", "q2"]


@on_sqlite
def test_turns_on_two_servers_with_a_redis_cluster(daemon: ScriptedDaemon, database_url: str, model: str) -> None:
    with running_cluster() as cluster, ExitStack() as stack:
        env = session_environment(cluster.url, daemon, database_url, redis_cluster="true")
        one, other = (stack.enter_context(running_server(env)) for _ in range(2))
        first = SessionClient(one.url)
        second = SessionClient(other.url, tenant=first.tenant)
        for number in range(4):
            speak_in_turn(first, second, daemon, f"{model}-{number}")
        assert "Traceback" not in one.log + other.log


def speak_in_turn(one: SessionClient, other: SessionClient, daemon: ScriptedDaemon, name: str) -> None:
    session = begun(
        one, daemon, name, says_and_waits("a1", until=name), says("a2"), says_and_waits("half", until=NEVER)
    )
    run_ids = [one.start(session, "q1")["run_id"], other.start(session, "q2")["run_id"]]
    daemon.wait_for_call(name, count=2)
    daemon.release(name)
    long = one.start(session, "q3")["run_id"]
    assert {one.finish(run_id)["type"] for run_id in run_ids} == {"run_succeeded"}
    wait_until(has_said(other, long))
    last = other.start(session, "q4", multitask_strategy="interrupt")["run_id"]

    assert one.finish(long)["type"] == "run_cancelled"
    wait_until(lambda: len(daemon.calls(name)) == 5)
    assert shown(daemon.calls(name)[-1]) == [
        *[said for number in range(3) for said in (("user", f"q{number}"), ("assistant", f"a{number}"))],
        ("user", "q3"),
        ("assistant", "half"),
        ("user", "q4"),
    ]
    one.runs().cancel(last)
