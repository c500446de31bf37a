"""A canary in each place for a credential in a request, echoed by the model's side, is found nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import environment
from tests.support.canaries import echoes, found, new_canary, processes, stored
from tests.support.client import RunClient, plugin_layers, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.mcp_server import RunningMcpServer, running_mcp_server
from tests.support.openai_server import running_openai_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer

PREFIX = "canary"
CALL: dict[str, Any] = {"id": "c1", "name": "lookup", "arguments": "{}"}
FINISH: dict[str, Any] = {"finish": "stop"}


@pytest.fixture
def canary() -> str:
    """A credential for this test alone."""
    return new_canary()


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[GunicornServer]:
    """A server that logs all it can, including requests. It is cold: a fork would show its parent's variables."""
    env = environment(
        redis_server.url,
        daemon.url,
        redis_prefix=PREFIX,
        log_level="DEBUG",
        allow_private_urls="true",
        secret_keys="ring-key-of-this-test",
    )
    with running_server({**env, "GUNICORN_CMD_ARGS": "--log-level debug --access-logfile -"}, cold=True) as server:
        yield server


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedDaemon]:
    with running_openai_server() as server:
        yield server


@pytest.fixture(scope="module")
def mcp_server() -> Iterator[RunningMcpServer]:
    with running_mcp_server() as server:
        yield server


@pytest.fixture
def client(server: GunicornServer) -> RunClient:
    return RunClient(server.url)


def assert_nowhere(canary: str, server: GunicornServer, redis_server: RedisServer, *answers: str) -> None:
    places = {
        "redis": "\n".join(stored(redis_server.client())),
        "log": server.log,
        "processes": "\n".join(processes(server)),
        "answers": "\n".join(answers),
    }
    assert found(canary, places) == []
    assert places["redis"].count(PREFIX) > 0


def finish(client: RunClient, *layers: dict[str, Any], **rest: Any) -> tuple[dict[str, Any], str]:
    """Waits for the run's end; returns the last event, and all that a caller can read of the run."""
    run_id = client.create(*layers, **rest)
    terminal = client.finish(run_id)
    return terminal, json.dumps([terminal, client.status(run_id), client.page(run_id, limit=500)], ensure_ascii=False)


@pytest.mark.parametrize("how", ["http-body", "http-header", "in-stream", "in-stream-split", "not-the-protocol"])
def test_a_credential_of_a_plugin_model_that_the_daemon_echoes(
    server: GunicornServer, client: RunClient, daemon: ScriptedDaemon, redis_server: RedisServer, canary: str, how: str
) -> None:
    text = echoes(canary)
    report = json.dumps({"error_type": "InvokeAuthorizationError", "message": text})
    error = {"error_type": f"Invoke{canary}", "message": text, "code": -500, "wrap": 1}
    answers: dict[str, list[dict[str, Any]]] = {
        "http-body": [{"status": 401, "body": json.dumps({"code": -401, "message": report})}],
        "http-header": [{"status": 429, "body": text, "headers": {"X-Echo": quote(canary), "Retry-After": "1"}}],
        "in-stream": [{"text": "begun"}, {"error": error}],
        "in-stream-split": [{"text": "begun"}, {"error": error, "bytes": 7}],
        "not-the-protocol": [{"write": f"data: {{{text}\n\n"}],
    }
    daemon.script(f"echo-{how}", answers[how])

    terminal, seen = finish(
        client,
        prompt(),
        *plugin_layers(f"echo-{how}", credentials={"api_key": canary, "other": f"x{canary}"}),
        metadata={"api_key": canary, "deep": [{"note": canary}]},
        idempotency_key=f"{how}-{canary}",
    )

    assert terminal["type"] == "run_failed"
    assert daemon.calls(f"echo-{how}")[0]["body"]["data"]["credentials"]["api_key"] == canary
    assert_nowhere(canary, server, redis_server, seen)


@pytest.mark.parametrize("setting", ["extra_headers", "extra_body"])
def test_a_credential_in_the_settings_of_a_plugin_model_that_the_daemon_echoes(
    server: GunicornServer,
    client: RunClient,
    daemon: ScriptedDaemon,
    redis_server: RedisServer,
    canary: str,
    setting: str,
) -> None:
    # A text of more than 1000 characters is cut, here in the middle of the credential.
    texts = [echoes(canary), f"{'-' * 970}{canary}"]
    answers = [[{"error": {"error_type": "InvokeError", "message": text, "code": -500}}] for text in texts]
    daemon.script(f"echo-{setting}", *answers)
    llm = plugin_layers(f"echo-{setting}", model_settings={setting: {"X-Other-Key": f"Bearer {canary}"}})

    ends = [finish(client, prompt(), *llm) for _ in texts]

    assert {terminal["type"] for terminal, _ in ends} == {"run_failed"}
    sent = daemon.calls(f"echo-{setting}")[0]["body"]["data"]["model_parameters"]
    assert canary in str(sent)
    assert_nowhere(canary, server, redis_server, *(seen for _, seen in ends))


def test_a_credential_of_a_plugin_tool_that_the_daemon_echoes(
    server: GunicornServer, client: RunClient, daemon: ScriptedDaemon, redis_server: RedisServer, canary: str
) -> None:
    daemon.script("calls-a-tool", [{"tool_call": CALL}, {"finish": "tool_calls"}], [{"text": "sorry"}, FINISH])
    daemon.script("lookup", [{"error": {"error_type": "InvokeError", "message": echoes(canary), "code": -500}}])
    tool = {
        "plugin_id": "langgenius/search",
        "provider": "search",
        "tool_name": "lookup",
        "credential_type": "api-key",
        "description": "Looks something up.",
        "credentials": {"key": canary},
        "runtime_parameters": {"secret": canary},
        "parameters": [{"name": "secret", "type": "secret-input", "form": "form", "label": {}, "required": False}],
        "parameters_json_schema": {"type": "object", "properties": {}},
    }
    deps = {"execution_context": "execution_context"}
    tools = {"name": "tools", "type": "dify.plugin.tools", "deps": deps, "config": {"tools": [tool]}}
    context, llm = plugin_layers("calls-a-tool")

    _, seen = finish(client, prompt(), context, tools, llm)

    assert daemon.calls("lookup")[0]["body"]["data"]["credentials"] == {"key": canary}
    assert_nowhere(canary, server, redis_server, seen)


@pytest.mark.parametrize("how", ["body", "header", "in-stream"])
def test_a_credential_of_a_direct_model_that_the_provider_echoes(
    server: GunicornServer,
    client: RunClient,
    provider: ScriptedDaemon,
    redis_server: RedisServer,
    canary: str,
    how: str,
) -> None:
    error = {"error": {"message": echoes(canary), "code": canary, "type": "invalid_request_error"}}
    answers: dict[str, list[dict[str, Any]]] = {
        "body": [{"status": 401, "body": error}],
        "header": [{"status": 400, "body": error, "headers": {"X-Echo": quote(canary)}}],
        "in-stream": [{"text": "begun"}, {"write": f"data: {json.dumps(error)}\n\n", "bytes": 5}],
    }
    provider.script(f"direct-{how}", answers[how])
    config = {
        "model": f"openai:direct-{how}",
        "base_url": f"{provider.url}/v1",
        "credentials": {"api_key": canary},
        "model_settings": {"extra_headers": {"X-Other-Key": f"Bearer {canary}"}},
    }

    terminal, seen = finish(client, prompt(), {"name": "llm", "type": "greenrun.llm", "config": config})

    assert terminal["type"] == "run_failed"
    assert provider.calls(f"direct-{how}")[0]["headers"]["x-other-key"] == f"Bearer {canary}"
    assert_nowhere(canary, server, redis_server, seen)


def test_a_credential_of_an_mcp_server_that_its_tool_echoes(
    server: GunicornServer,
    client: RunClient,
    daemon: ScriptedDaemon,
    mcp_server: RunningMcpServer,
    redis_server: RedisServer,
    canary: str,
) -> None:
    call = {**CALL, "name": "indiscreet"}
    daemon.script("asks-mcp", [{"tool_call": call}, {"finish": "tool_calls"}], [{"text": "sorry"}, FINISH])
    config = {
        "url": f"{mcp_server.url}?key={quote(canary, safe='')}",
        "headers": {"Authorization": f"Bearer {canary}", "X-Key": canary},
        "allowed_tools": ["indiscreet"],
    }

    terminal, seen = finish(
        client, prompt(), {"name": "mcp", "type": "greenrun.mcp", "config": config}, *plugin_layers("asks-mcp")
    )

    assert terminal["type"] == "run_succeeded", terminal
    assert "has no access" in seen
    assert_nowhere(canary, server, redis_server, seen)


def test_a_refused_request_does_not_repeat_its_credentials(
    server: GunicornServer, client: RunClient, redis_server: RedisServer, canary: str
) -> None:
    credentials = {"api_key": canary, "nested": {"deep": [canary]}}
    in_config = {"model": "openai:x", "base_url": f"https://user:{quote(canary, safe='')}@example.com/v1"}
    bodies: list[dict[str, Any]] = [
        {"composition": {"layers": [prompt(), *plugin_layers("x", credentials=credentials)]}},
        {"composition": {"layers": [prompt(), {"name": "llm", "type": "greenrun.llm", "config": in_config}]}},
        {"composition": {"layers": [{"name": "p", "type": "plain.prompt", "config": {"credentials": canary}}]}},
        {"composition": {"layers": [{"name": "p", "type": "plain.prompt", "config": json.dumps({"token": canary})}]}},
        {"composition": {"layers": []}, "authorization": canary, "x": {"password": canary}},
        {"composition": {"layers": [{"name": "m", "type": "greenrun.mcp", "config": {"headers": {"X": canary}}}]}},
    ]
    headers = {"Authorization": f"Bearer {canary}", "Idempotency-Key": quote(canary)}

    answers = [client.session.post(f"{client.url}/runs", json=body, headers=headers, timeout=30) for body in bodies]

    assert {answer.status_code for answer in answers} == {422}
    client.finish(client.create(prompt()))
    assert_nowhere(canary, server, redis_server, *(answer.text for answer in answers))


def test_tokens_in_headers_and_queries_are_not_logged(
    server: GunicornServer, client: RunClient, redis_server: RedisServer, canary: str
) -> None:
    run_id = client.create(prompt())
    client.finish(run_id)
    sent = quote(canary, safe="")

    refused = server.get(f"/runs/{run_id}?token={sent}")
    passed = server.get(f"/runs/{run_id}", headers={"Authorization": f"Bearer {canary}", "Referer": f"/x?token={sent}"})
    token = server.post(f"/runs/{run_id}/stream-tokens").json()["token"]
    read = server.get(f"/runs/{run_id}/events?token={token}")

    assert (refused.status_code, passed.status_code, read.status_code) == (401, 200, 200)
    wait_until(lambda: f"/runs/{run_id}/events" in server.log)
    assert token not in server.log
    assert_nowhere(canary, server, redis_server, refused.text, passed.text, read.text)
