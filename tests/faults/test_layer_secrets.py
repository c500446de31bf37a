"""An added layer type whose class does not declare the secret in its config: the secret is found nowhere."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from models import AgentSession
from services.database import Database
from tests.conftest import environment
from tests.support.agent_client import ADMIN_TOKEN
from tests.support.agent_server import SECRET_KEYS
from tests.support.canaries import found, new_canary, processes, rows, stored
from tests.support.client import RunClient, demo_llm, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer
from tests.support.session_client import SessionClient

# As in ``tests.support.secretive_app``. Only the server imports that, because it registers layer types.
SECRETIVE = "test.secretive"
LASTING = "test.lasting"
TOOL = "use_token"

FAILS = ["enter", "foreseen", "tool", "leave"]


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, daemon: ScriptedDaemon, database_url: str) -> Iterator[GunicornServer]:
    """A server that logs all it can, including requests."""
    env = environment(
        redis_server.url,
        daemon.url,
        redis_prefix=f"secretive-{secrets.token_hex(4)}",
        log_level="DEBUG",
        admin_token=ADMIN_TOKEN,
        secret_keys=SECRET_KEYS,
        database_url=database_url,
    )
    arguments = {"GUNICORN_CMD_ARGS": "--log-level debug --access-logfile -"}
    with running_server({**env, **arguments}, app="tests.support.secretive_app:app") as server:
        yield server


@pytest.fixture
def client(server: GunicornServer) -> SessionClient:
    return SessionClient(server.url)


@pytest.fixture
def canary() -> str:
    return new_canary()


@pytest.fixture
def note() -> str:
    """A value that need not be secret, which shows where configs are stored."""
    return f"note-{secrets.token_hex(8)}"


def layers_with(canary: str, note: str, fails: str | None = None, **llm: Any) -> list[dict[str, Any]]:
    config = {"token": canary, "fails": fails}
    return [
        {"name": "secretive", "type": SECRETIVE, "config": config, "metadata": {"note": canary}},
        {"name": "lasting", "type": LASTING, "config": {"note": note}, "metadata": {"note": canary}},
        demo_llm(call_tool=TOOL, **llm),
    ]


def places(server: GunicornServer, redis_server: RedisServer, database: Database, seen: list[Any]) -> dict[str, str]:
    return {
        "answers": json.dumps(seen, ensure_ascii=False),
        "log": server.log,
        "redis": "\n".join(stored(redis_server.client())),
        "database": "\n".join(rows(database)),
        "processes": "\n".join(processes(server)),
    }


def read_run(runs: RunClient, run_id: str) -> tuple[dict[str, Any], list[Any]]:
    """Waits for the run's end; returns the last event, and all that a caller can read of the run."""
    end = runs.finish(run_id)
    return end, [end, runs.status(run_id), runs.page(run_id, limit=500)]


def state_of(snapshot: dict[str, Any]) -> dict[str, Any]:
    states = {layer["name"]: layer["runtime_state"] for layer in snapshot["layers"]}
    state: dict[str, Any] = states["secretive"]
    return state


def had(canary: str, *, entered: int) -> dict[str, Any]:
    """The state of a layer that had the secret in each of these runs."""
    return {"digest": hashlib.sha256(canary.encode()).hexdigest(), "entered": entered}


def test_the_secret_is_found_nowhere_after_runs(
    server: GunicornServer,
    client: SessionClient,
    redis_server: RedisServer,
    database: Database,
    canary: str,
    note: str,
) -> None:
    runs, layers = client.runs(), [prompt(), *layers_with(canary, note)]
    first, seen_first = read_run(runs, runs.create(*layers, idempotency_key=note))
    snapshot = first["data"]["session_snapshot"]
    second, seen_second = read_run(runs, runs.create(*layers, session_snapshot=snapshot))

    failed = [read_run(runs, runs.create(prompt(), *layers_with(canary, note, fails))) for fails in FAILS]
    wrong = {"name": "secretive", "type": SECRETIVE, "config": {"token": [canary], "tokn": canary}}
    bodies = [{"composition": {"layers": [prompt(), layer]}} for layer in (wrong, {**wrong, "type": "test.unknown"})]
    refused = [client.call("POST", "/runs", json=body) for body in bodies]

    assert state_of(second["data"]["session_snapshot"]) == had(canary, entered=2)
    assert [end["type"] for end, _ in failed] == ["run_failed"] * len(FAILS)
    assert "[REDACTED]" in failed[FAILS.index("foreseen")][0]["data"]["error"]
    assert server.log.count("builtins.RuntimeError") >= 2
    assert {answer.status_code for answer in refused} == {422}
    seen = [*seen_first, *seen_second, *(told for _, told in failed), *(answer.text for answer in refused)]
    looked = places(server, redis_server, database, seen)
    assert found(canary, looked) == []
    assert first["run_id"] in looked["redis"], "it has looked where runs are"


def test_the_secret_is_found_nowhere_during_and_after_a_session(
    server: GunicornServer,
    client: SessionClient,
    redis_server: RedisServer,
    database: Database,
    canary: str,
    note: str,
) -> None:
    made = client.json(
        "POST",
        "/sessions",
        201,
        json={"composition": {"layers": layers_with(canary, note, delay_ms=50)}, "multitask_strategy": "enqueue"},
        headers={"Idempotency-Key": note},
    )
    session = made["id"]
    in_line = [client.start(session, f"q{number}", idempotency_key=f"k{number}") for number in range(3)]
    while_waiting = places(server, redis_server, database, in_line)
    runs = [read_run(client.runs(), turn["run_id"]) for turn in in_line]

    seen = [made, *in_line, *(told for _, told in runs), *read_session(client, session)]
    looked = places(server, redis_server, database, seen)
    assert [end["type"] for end, _ in runs] == ["run_succeeded"] * 3
    assert state_of(client.json("GET", f"/sessions/{session}")["session_snapshot"]) == had(canary, entered=3)
    assert (found(canary, while_waiting), found(canary, looked)) == ([], [])
    assert note in looked["database"], "it has looked where configs are"

    assert client.call("DELETE", f"/sessions/{session}").status_code == 204
    wait_until(lambda: is_gone(database, session), timeout=60)
    assert found(canary, places(server, redis_server, database, [])) == []


@pytest.mark.parametrize("fails", FAILS)
def test_the_secret_is_found_nowhere_when_a_turn_fails(
    server: GunicornServer,
    client: SessionClient,
    redis_server: RedisServer,
    database: Database,
    canary: str,
    note: str,
    fails: str,
) -> None:
    composition = {"layers": layers_with(canary, note, fails)}
    made = client.json("POST", "/sessions", 201, json={"composition": composition})
    wrong = {"layers": [{"name": "secretive", "type": SECRETIVE, "config": {"token": [canary]}}]}
    refused = client.call("POST", "/sessions", json={"composition": wrong})

    end, told = read_run(client.runs(), client.start(made["id"])["run_id"])

    client.wait_for_turn(made["id"], 0, "failed")
    seen = [made, refused.text, *told, *read_session(client, made["id"])]
    looked = places(server, redis_server, database, seen)
    assert (end["type"], refused.status_code) == ("run_failed", 422)
    assert found(canary, looked) == []
    assert note in looked["database"], "it has looked where configs are"


def read_session(client: SessionClient, session: str) -> list[str]:
    """Returns all that a caller can read of a session and its turns."""
    path = f"/sessions/{session}"
    ids = [turn["id"] for turn in client.turns(session)]
    of_turns = [f"{path}/turns/{turn_id}/chat-events" for turn_id in ids]
    answers = [client.call("GET", one) for one in (path, "/sessions", f"{path}/turns", *of_turns)]
    answers.append(client.call("PATCH", path, json={"name": "Still secret"}))
    assert {answer.status_code for answer in answers} == {200}
    return [answer.text for answer in answers]


def is_gone(database: Database, session_id: str) -> bool:
    with database.reading() as session:
        return session.get(AgentSession, session_id) is None
