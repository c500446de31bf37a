"""The end of a session: delete hooks run, nothing is left of it, and credentials never leave the server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models import AgentSession, SessionTurn
from services.database import Database
from tests.conftest import StartServer
from tests.support.agent_client import ADMIN_TOKEN
from tests.support.agent_server import SECRET_KEYS
from tests.support.canaries import rows, stored
from tests.support.client import prompt, wait_until
from tests.support.gunicorn_server import GunicornServer
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer
from tests.support.session_client import SessionClient, says, scripted_soul

NOTED = "test.noted"
"""The layer type of ``tests.support.noted_app``. Only the server imports that, because it registers the type."""

CANARY = "sk-canary-of-a-session"


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model name for this test alone, so that no two tests share a script."""
    return str(request.node.name)


@pytest.fixture
def client(agent_server: GunicornServer) -> SessionClient:
    return SessionClient(agent_server.url)


@pytest.fixture
def noting(start_server: StartServer, database_url: str) -> GunicornServer:
    return start_server(
        app="tests.support.noted_app:app",
        redis_prefix="noted",
        admin_token=ADMIN_TOKEN,
        database_url=database_url,
        secret_keys=SECRET_KEYS,
    )


def is_empty(database: Database, session_id: str) -> bool:
    with database.reading() as session:
        row = session.get(AgentSession, session_id)
        return row is None and session.query(SessionTurn).where(SessionTurn.session_id == session_id).count() == 0


def cleanups(redis_server: RedisServer, tenant: str, known: set[str]) -> list[str]:
    """The ids of a tenant's runs other than the known ones."""
    redis = redis_server.client()
    records = [json.loads(redis.get(key) or b"{}") for key in redis.scan_iter("agents:runs:*:record", count=1000)]
    return [one["run_id"] for one in records if one.get("tenant_id") == tenant and one["run_id"] not in known]


@pytest.mark.parametrize("llm", [[], [{"name": "llm", "type": "greenrun.demo_llm"}]], ids=["default", "its own"])
def test_deleting_a_session_runs_the_delete_hooks_on_what_it_remembers(
    noting: GunicornServer, database: Database, llm: list[dict[str, Any]]
) -> None:
    client = SessionClient(noting.url)
    layers = [{"name": "noted", "type": NOTED}, prompt("Be brief."), *llm]
    session = client.json("POST", "/sessions", 201, json={"composition": {"layers": layers}})["id"]
    client.say(session)
    client.say(session)

    assert client.call("DELETE", f"/sessions/{session}").status_code == 204

    wait_until(lambda: is_empty(database, session))
    notes = noting.get("/notes").json()
    assert notes == [["create", 1], ["resume", 2], ["resume", 3], ["delete", 3]]


def test_a_cleanup_is_a_run_without_a_model(
    client: SessionClient, daemon: ScriptedDaemon, model: str, database: Database, redis_server: RedisServer
) -> None:
    daemon.script(model, says("ok"))
    session = client.session(client.scripted_agent(model))
    turn = client.start(session)["run_id"]
    client.finish(turn)

    client.call("DELETE", f"/sessions/{session}")
    wait_until(lambda: is_empty(database, session))

    (cleanup,) = cleanups(redis_server, client.tenant, {turn})
    end = client.finish(cleanup)
    assert (end["type"], end["data"]["output"]) == ("run_succeeded", None)
    layers = end["data"]["session_snapshot"]["layers"]
    assert {layer["lifecycle_state"] for layer in layers} == {"closed"}
    assert {layer["name"] for layer in layers} == {"execution_context", "history"}
    assert len(daemon.calls(model)) == 1


@pytest.mark.parametrize(
    ("versions", "left"),
    [
        (("plain", "asking"), {"execution_context", "history"}),
        (("asking", "plain"), {"execution_context", "history", "ask_human"}),
    ],
    ids=["one more", "one less"],
)
def test_a_cleanup_uses_the_remembered_layers_even_after_a_turn_failed_on_others(
    client: SessionClient,
    daemon: ScriptedDaemon,
    model: str,
    database: Database,
    redis_server: RedisServer,
    versions: tuple[str, str],
    left: set[str],
) -> None:
    daemon.script(model, says("ok"), [{"error": {"error_type": "E", "message": "no", "code": -500}}])
    asks = {"contacts": [{"id": "c1", "name": "Bo", "email": "bo@example.com"}]}
    agent = client.scripted_agent(model, human=asks)
    body = {"agent_soul": scripted_soul(model)}
    plain = client.json("POST", f"/agents/{agent['id']}/versions", 201, json=body)["id"]
    known = {"plain": plain, "asking": agent["active_config_snapshot_id"]}
    session = client.session(agent, version_id=known[versions[0]])
    turns = {client.start(session, version_id=known[version])["run_id"] for version in versions}
    client.wait_for_turn(session, 0, "succeeded")
    client.wait_for_turn(session, 1, "failed")

    client.call("DELETE", f"/sessions/{session}")
    wait_until(lambda: is_empty(database, session))

    (cleanup,) = cleanups(redis_server, client.tenant, turns)
    layers = client.finish(cleanup)["data"]["session_snapshot"]["layers"]
    assert {layer["name"] for layer in layers} == left


def test_a_session_that_never_spoke_is_deleted_at_once(client: SessionClient, database: Database) -> None:
    session = client.session(client.agent())

    assert client.call("DELETE", f"/sessions/{session}").status_code == 204

    assert is_empty(database, session)


def test_a_credential_of_a_sessions_composition_is_only_sent_to_the_model(
    client: SessionClient,
    agent_server: GunicornServer,
    daemon: ScriptedDaemon,
    model: str,
    database: Database,
    redis_server: RedisServer,
) -> None:
    daemon.script(model, says("ok"), [{"error": {"error_type": "E", "message": f"bad {CANARY}", "code": -500}}])
    layers = [
        {"name": "context", "type": "dify.execution_context", "config": context_of(client)},
        {
            "name": "llm",
            "type": "dify.plugin.llm",
            "deps": {"execution_context": "context"},
            "config": {"plugin_id": "p", "model_provider": "openai", "model": model, "credentials": {"key": CANARY}},
        },
    ]
    made = client.json(
        "POST", "/sessions", 201, json={"composition": {"layers": layers}}, headers={"Idempotency-Key": "canary"}
    )
    path = f"/sessions/{made['id']}"
    ends = [client.say(made["id"], idempotency_key="k"), client.say(made["id"])]
    (turn, failed) = client.turns(made["id"])
    paths = (path, "/sessions", f"{path}/turns", f"{path}/turns/{turn['id']}/chat-events")
    answers = [client.call("GET", one).text for one in paths]
    answers.append(client.call("PATCH", path, json={"name": "Still secret"}).text)

    assert [end["type"] for end in ends] == ["run_succeeded", "run_failed"]
    assert failed["error"]
    assert CANARY in json.dumps(daemon.calls(model)[0]["body"])
    places = {
        "answers": "\n".join([json.dumps([made, *ends]), *answers]),
        "log": agent_server.log,
        "redis": "\n".join(stored(redis_server.client())),
        "database": "\n".join(rows(database)),
    }
    assert [place for place, found in places.items() if CANARY in found] == []
    assert made["id"] in places["redis"] or ends[0]["run_id"] in places["redis"]
    assert made["id"] in places["database"]


def context_of(client: SessionClient) -> dict[str, str]:
    return {"tenant_id": client.tenant, "invoke_from": "service-api"}
