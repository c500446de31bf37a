"""Two servers that share sessions, for tests that break Redis, the database or a worker; and what must still hold."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from redis import Redis
from sqlalchemy import select

from models import AgentSession, SessionTurn
from models.enums import TurnStatus, TurnStop
from services.database import Database
from tests.conftest import Setting, environment
from tests.support.agent_client import ADMIN_TOKEN
from tests.support.agent_server import SECRET_KEYS
from tests.support.chat_client import parse_chat
from tests.support.client import wait_until
from tests.support.databases import POSTGRESQL, SQLITE, open_database
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import USAGE, Answer, ScriptedDaemon
from tests.support.redis_server import RedisServer, running_redis
from tests.support.session_client import SessionClient, says

IS_SOAK = os.environ.get("GREENRUN_SOAK") == "1"
RACERS = 8

NEVER = "never"

LATE = "tests.support.late_finalizing_app:app"
"""A server that finalizes a successful turn only when a caller needs it, or when it stops."""

PREFIX = "session-faults"
LEASE_SECONDS = 3
DATABASE_SECONDS = 2
FINALIZED_SECONDS = 60.0
LATE_SECONDS = 1.0
BUFFER_BYTES = 65_536
SOON_SECONDS = 10.0
"""Much longer than a worker leaves a turn unfinalized, and less than the time after which sweepers look for one."""
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
    """Two servers of one worker each, ``one`` and ``other``, with their Redis and database."""

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
        """Freezes the server's worker for the time of the block."""
        worker = self.worker(server)
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)

    def rows(self, session_id: str) -> tuple[AgentSession, list[SessionTurn]]:
        """A session and its turns as they are stored; unlike a request, this does not finalize anything."""
        with self.database.reading() as session:
            row = session.get_one(AgentSession, session_id)
            wanted = select(SessionTurn).where(SessionTurn.session_id == session_id).order_by(SessionTurn.position)
            return row, list(session.scalars(wanted))

    def is_finalized(self, session_id: str) -> bool:
        """Whether the stored rows are finalized; reading them here does not finalize them."""
        row, turns = self.rows(session_id)
        return row.unfinished == 0 and not [turn for turn in turns if turn.status is TurnStatus.RUNNING]

    def assert_finalized(self, session_id: str, end: dict[str, Any]) -> None:
        """Asserts that the last turn, which has succeeded with this terminal event, is finalized."""
        row, turns = self.rows(session_id)
        assert (row.unfinished, turns[-1].status, turns[-1].prepared_snapshot) == (0, TurnStatus.SUCCEEDED, None)
        assert row.session_snapshot == end["data"]["session_snapshot"]

    def record(self, run_id: str) -> dict[str, Any] | None:
        raw = self.redis.get(f"{PREFIX}:runs:{run_id}:record")
        return json.loads(raw) if raw is not None else None

    def is_ready(self) -> bool:
        """Whether both servers are ready, as far as two requests to each can show."""
        return all(
            requests.get(f"{server.url}/ready", timeout=30).status_code == 200
            for server in (self.one, self.other)
            for _ in range(2)
        )

    def assert_sound(self, client: SessionClient, session_id: str) -> list[SessionTurn]:
        """Asserts that each turn is finalized as its run has ended, and that the session remembers what it must."""
        wait_until(lambda: {turn["status"] for turn in client.turns(session_id)} <= ENDED, timeout=FINALIZED_SECONDS)
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
    """The history in a session snapshot, as roles and texts."""
    layers = {layer["name"]: layer["runtime_state"] for layer in (snapshot or {"layers": []})["layers"]}
    messages = layers.get("history", {}).get("messages", [])
    return [(message["kind"], _text(message)) for message in messages]


def said_in(turn: SessionTurn) -> list[tuple[str, str]]:
    """What a history contains of a turn that it keeps."""
    return [("request", turn.query), *([("response", turn.answer)] if turn.answer else [])]


def told(count: int) -> list[tuple[str, str]]:
    """What a model is shown of ``count`` turns: ``q0``, ``a0``, ``q1``, ``a1`` and so on."""
    return [said for number in range(count) for said in (("user", f"q{number}"), ("assistant", f"a{number}"))]


def _text(message: dict[str, Any]) -> str:
    return "".join(part["content"] for part in message["parts"])


class HoldingProxy:
    """Forwards connections to one server. Between ``hold`` and ``release`` a connection that sends ``needle`` is held.

    ``held`` is set once one is; ``url`` is where to connect, with the scheme and path of the target.
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
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for source, sink, can_hold in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._forward, args=(source, sink, can_hold), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, can_hold: bool) -> None:
        with suppress(OSError):  # one side has closed
            while data := source.recv(BUFFER_BYTES):
                if can_hold and self._needle is not None and self._needle in data:
                    self.held.set()
                    self._go_on.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def holding_proxy(target: str) -> Iterator[HoldingProxy]:
    """Runs a proxy in front of the server at the URL ``target`` for the time of the block."""
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
    """Two servers that are ready before each test and must have logged no traceback after it."""
    wait_until(shared_site.is_ready, timeout=60)
    seen = [len(server.log) for server in (shared_site.one, shared_site.other)]

    yield shared_site

    for server, length in zip((shared_site.one, shared_site.other), seen, strict=True):
        assert "Traceback" not in server.log[length:]


@pytest.fixture
def clients(site: Site) -> tuple[SessionClient, SessionClient]:
    return site.clients()


def begun(client: SessionClient, daemon: ScriptedDaemon, model: str, *answers: Any) -> str:
    """Creates a session with one successful turn; its model gives these answers to the next ones."""
    daemon.script(model, says("a0"), *answers)
    session = client.session(client.scripted_agent(model, name=model[-40:]))
    assert client.say(session, "q0")["type"] == "run_succeeded"
    return session


def demo_agent(client: SessionClient, answer: str, delay_ms: int) -> dict[str, Any]:
    """Creates an agent with the demo model, which takes ``delay_ms`` for each word and needs no network."""
    named = {"plugin_id": "greenrun/demo", "model_provider": "greenrun", "model": "demo"}
    model = {**named, "model_settings": {"answer": answer, "delay_ms": delay_ms}}
    return client.json("POST", "/agents", 201, json={"name": "Demo", "agent_soul": {"model": model}})


def statuses(turns: list[SessionTurn]) -> list[tuple[str, str, str | None]]:
    return [(turn.query, turn.status, turn.error_reason) for turn in turns]


def has_said(client: SessionClient, run_id: str) -> Callable[[], bool]:
    return lambda: len(client.runs().page(run_id)["events"]) > 1


def chat_of(client: SessionClient, session_id: str, turn: dict[str, Any]) -> list[dict[str, Any]]:
    """Reads a turn's chat frames to the end."""
    path = f"/sessions/{session_id}/turns/{turn['turn_id']}/chat-events"
    with client.call("GET", path, stream=True) as response:
        return list(parse_chat(response.iter_content(None)))


def race(count: int, racer: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(RACERS) as racers:
        list(racers.map(racer, range(count)))


@contextmanager
def writes_refused(site: Site) -> Iterator[None]:
    """Blocks all writes to Redis for the time of the block: they wait until their callers give up."""
    site.redis.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
    try:
        yield
    finally:
        site.redis.execute_command("CLIENT", "UNPAUSE")
