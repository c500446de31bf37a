"""A canary stored as a credential, used by a run and echoed by the model's side, is found nowhere in the clear."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from cryptography.fernet import Fernet

from runtime.protocol.ids import new_id
from tests.conftest import environment
from tests.support.canaries import echoes, found, new_canary, processes, spellings, stored
from tests.support.client import RunClient
from tests.support.databases import SQLITE, sqlite_file
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.openai_server import running_openai_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer

ADMIN = "operator-of-the-tests"


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, daemon: ScriptedDaemon, database_url: str) -> Iterator[GunicornServer]:
    """A server that logs all it can, including requests."""
    env = environment(
        redis_server.url,
        daemon.url,
        redis_prefix=f"stored-{secrets.token_hex(4)}",
        log_level="DEBUG",
        allow_private_urls="true",
        admin_token=ADMIN,
        secret_keys=Fernet.generate_key().decode(),
        database_url=database_url,
    )
    with running_server({**env, "GUNICORN_CMD_ARGS": "--log-level debug --access-logfile -"}) as server:
        server.session.headers.update({"Authorization": f"Bearer {ADMIN}", "X-Tenant-Id": new_id()})
        yield server


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedDaemon]:
    with running_openai_server() as server:
        yield server


@pytest.fixture
def canary() -> str:
    return new_canary()


def files_of(database_kind: str, database_url: str) -> Iterator[bytes]:
    """Every file of the database: SQLite's with its write-ahead log, or all files of PostgreSQL."""
    if database_kind == SQLITE:
        folder = sqlite_file(database_url).parent
    else:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
        folder = Path(row[0])
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


def put(server: GunicornServer, name: str, body: object) -> requests.Response:
    return server.session.put(f"{server.url}/credentials/{name}", json=body, timeout=30)


def run_agent(server: GunicornServer, provider: ScriptedDaemon, model: str, credential: str) -> tuple[str, str]:
    """Runs an agent with a scripted model; returns the type of the run's end, and all that can be read of it."""
    ref = {"type": "provider", "id": credential}
    config = {"plugin_id": "greenrun/direct", "model_provider": "openai", "model": f"openai:{model}"}
    agent = server.post("/agents", json={"name": model, "agent_soul": {"model": {**config, "credential_ref": ref}}})
    assert agent.status_code == 201, agent.text
    begun = server.post(f"/agents/{agent.json()['id']}/runs", json={"query": "Hello"})
    assert begun.status_code == 202, begun.text
    client, run_id = RunClient(server.url, token=ADMIN), begun.json()["run_id"]
    end = client.finish(run_id)
    seen = [end, client.status(run_id), client.page(run_id, limit=500), agent.json(), begun.json()]
    return end["type"], json.dumps(seen, ensure_ascii=False)


def test_a_stored_credential_is_found_nowhere_in_the_clear(
    server: GunicornServer,
    provider: ScriptedDaemon,
    redis_server: RedisServer,
    database_kind: str,
    database_url: str,
    canary: str,
) -> None:
    values = {"api_key": canary, "base_url": f"{provider.url}/v1"}
    provider.script("works", [{"text": "hello"}, {"finish": "stop"}])
    error = {"error": {"message": echoes(canary), "code": canary, "type": "invalid_request_error"}}
    provider.script("echoes", [{"status": 401, "body": error}])

    made = put(server, "canary", {"provider": "openai", "values": values})
    refusals: list[Any] = [
        {"provider": 7, "values": {"other": canary}},
        {"values": {"other": canary}},
        {"provider": "openai", "values": canary},
        {"provider": "openai", "values": values, "more": canary},
    ]
    refused = [put(server, "refused", body) for body in refusals]
    well, seen_well = run_agent(server, provider, "works", "canary")
    badly, seen_badly = run_agent(server, provider, "echoes", "canary")
    listed = server.get("/credentials")
    needed = server.session.delete(f"{server.url}/credentials/canary", timeout=30)

    assert (made.status_code, well, badly, needed.status_code) == (201, "run_succeeded", "run_failed", 409)
    assert {answer.status_code for answer in refused} == {400}
    assert provider.calls("works")[0]["headers"]["authorization"] == f"Bearer {canary}", "the run has used it"
    answers = [made, listed, needed, *refused]
    places = {
        "answers": "\n".join([*(answer.text for answer in answers), seen_well, seen_badly]),
        "redis": "\n".join(stored(redis_server.client())),
        "log": server.log,
        "processes": "\n".join(processes(server)),
    }
    files = list(files_of(database_kind, database_url))
    assert found(canary, places) == []
    assert [text for text in spellings(canary) if any(text.encode() in file for file in files)] == []
    assert any(made.json()["fingerprint"].encode() in file for file in files), "it has looked where the row is"
    assert canary[-4:] in places["answers"]
