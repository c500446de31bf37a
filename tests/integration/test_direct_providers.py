"""``greenrun.llm`` in the real server: gunicorn, gevent, its loop on the hub, and a scripted provider."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import StartServer, environment
from tests.support.client import RunClient, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.hostile_server import running_hostile_server
from tests.support.openai_server import running_openai_server
from tests.support.plugin_daemon import ScriptedDaemon, Step
from tests.support.provider_wires import FINISH, HELLO
from tests.support.redis_server import RedisServer

KEY = "sk-canary-7f3a9"
PROVIDERS_TEXT = "what-the-provider-wrote"
CLOSE_BOUND_SECONDS = 1.0
"""What operators are promised: a cancelled run stops costing money within a second."""
SERVER_VARIABLES = {
    "OPENAI_API_KEY": "env-canary-1",
    "OPENAI_ORG_ID": "env-canary-2",
    "OPENAI_CUSTOM_HEADERS": "X-Env: env-canary-3",
    "ANTHROPIC_API_KEY": "env-canary-4",
    "GOOGLE_API_KEY": "env-canary-5",
}


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedDaemon]:
    with running_openai_server() as server:
        yield server


@pytest.fixture(scope="module")
def generous_server(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[GunicornServer]:
    """A server that allows private addresses, with the operator's own provider keys in its environment."""
    settings = environment(redis_server.url, daemon.url, redis_prefix="direct", allow_private_urls=True)
    with running_server({**settings, **SERVER_VARIABLES}, workers=2) as server:
        yield server


@pytest.fixture
def client(generous_server: GunicornServer) -> RunClient:
    return RunClient(generous_server.url)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model name for this test alone, so that no two tests share a script."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


def model(provider: ScriptedDaemon, name: str, **rest: Any) -> dict[str, Any]:
    base_url = f"{provider.url}/v1"
    known = {"model": f"openai:{name}", "base_url": base_url, "credentials": {"api_key": KEY}}
    return {**known, "compatibility": "openai", **rest}


def llm(config: dict[str, Any], *fallbacks: dict[str, Any]) -> dict[str, Any]:
    more = {"fallback_models": list(fallbacks)} if fallbacks else {}
    return {"name": "llm", "type": "greenrun.llm", "config": {**config, **more}}


def begin(client: RunClient, provider: ScriptedDaemon, name: str) -> tuple[str, Iterator[Any]]:
    """Begins a run whose model streams some text and then hangs."""
    provider.script(name, [{"text": "begun"}, {"hang": True}])
    run_id = client.create(prompt(), llm(model(provider, name)))
    stream = client.stream(run_id)
    while next(stream).data.get("agent_message_delta") != "begun":
        pass
    return run_id, stream


def test_a_run_streams_a_providers_answer(client: RunClient, provider: ScriptedDaemon, name: str) -> None:
    provider.script(name, HELLO)

    frames = client.follow(client.create(prompt("Say hello.", prefix="Be brief."), llm(model(provider, name))))

    assert "".join(frame.data.get("agent_message_delta") or "" for frame in frames) == "Hello there"
    assert len([frame for frame in frames if frame.data.get("agent_message_delta")]) == 3
    end = frames[-1].data
    assert end["type"] == "run_succeeded"
    assert end["data"]["output"] == "Hello there"
    usage = end["data"]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (7, 5, 12)
    assert usage["latency"] > 0
    [call] = provider.calls(name)
    assert call["headers"]["authorization"] == f"Bearer {KEY}"
    assert call["body"]["stream"] is True
    assert [(item["role"], item["content"]) for item in call["body"]["messages"]] == [
        ("system", "Be brief."),
        ("user", "Say hello."),
    ]
    assert "env-canary" not in json.dumps(call)


def test_a_model_without_a_key_gets_none_of_the_server(client: RunClient, provider: ScriptedDaemon, name: str) -> None:
    provider.script(name, HELLO)
    config = {"model": f"openai:{name}", "base_url": f"{provider.url}/v1"}

    end = client.finish(client.create(prompt(), llm(config)))

    assert end["type"] == "run_succeeded"
    [call] = provider.calls(name)
    assert "env-canary" not in json.dumps(call)
    assert KEY not in json.dumps(call)


def test_a_rate_limited_model_is_replaced_and_only_the_answer_is_counted(
    client: RunClient, provider: ScriptedDaemon, name: str
) -> None:
    limited: Step = {"status": 429, "body": {"error": {"message": "slow down"}}, "headers": {"Retry-After": "3600"}}
    provider.script(name, [limited])
    provider.script(name + "-fallback", HELLO)

    end = client.finish(client.create(prompt(), llm(model(provider, name), model(provider, name + "-fallback"))))

    assert end["data"]["output"] == "Hello there"
    assert end["data"]["usage"]["total_tokens"] == 12
    assert len(provider.calls(name)) == len(provider.calls(name + "-fallback")) == 1


def test_a_model_that_is_silent_for_its_timeout_is_replaced(
    client: RunClient, provider: ScriptedDaemon, name: str
) -> None:
    provider.script(name, [{"silence": True}])
    provider.script(name + "-fallback", HELLO)
    impatient = model(provider, name, model_settings={"timeout": 0.5})

    end = client.finish(client.create(prompt(), llm(impatient, model(provider, name + "-fallback"))))

    assert end["data"]["output"] == "Hello there"
    assert provider.wait_until_ended(name)["closed_by_client"]


def test_a_run_whose_models_all_fail_says_why_without_the_providers_text(
    client: RunClient, provider: ScriptedDaemon, name: str
) -> None:
    body = {"error": {"message": f"{PROVIDERS_TEXT} {KEY}", "code": "scripted"}}
    provider.script(name, [{"status": 500, "body": body}])
    dead = {"model": "openai:nowhere", "base_url": "http://127.0.0.1:9/v1"}

    end = client.finish(client.create(prompt(), llm(model(provider, name), dead)))

    assert end["type"] == "run_failed"
    assert end["data"]["error"] == (
        f"all models failed: openai:{name}: the provider failed (status 500); "
        "openai:nowhere: the provider cannot be reached"
    )
    assert PROVIDERS_TEXT not in json.dumps(end)
    assert KEY not in json.dumps(end)


def test_an_answer_that_is_cut_in_the_middle_fails_the_run_and_is_not_begun_again(
    client: RunClient, provider: ScriptedDaemon, name: str
) -> None:
    provider.script(name, [{"text": "Hel"}, {"pause": 0.05}, {"abort": True}])
    provider.script(name + "-fallback", HELLO)

    frames = client.follow(client.create(prompt(), llm(model(provider, name), model(provider, name + "-fallback"))))

    assert "".join(frame.data.get("agent_message_delta") or "" for frame in frames) == "Hel"
    assert frames[-1].event == "run_failed"
    assert frames[-1].data["data"]["error"] == f"openai:{name}: the connection to the provider broke off"
    assert provider.calls(name + "-fallback") == []


def test_cancelling_closes_the_providers_connection_within_a_second(
    client: RunClient, provider: ScriptedDaemon, name: str
) -> None:
    run_id, stream = begin(client, provider, name)

    asked_at = time.time()
    client.cancel(run_id)

    call = provider.wait_until_ended(name)
    assert call["closed_by_client"]
    assert call["began_at"] + call["open_seconds"] - asked_at < CLOSE_BOUND_SECONDS
    assert list(stream)[-1].event == "run_cancelled"


def test_a_call_without_an_answer_yet_is_cancelled_too(client: RunClient, provider: ScriptedDaemon, name: str) -> None:
    provider.script(name, [{"silence": True}])
    provider.script(name + "-fallback", HELLO)
    run_id = client.create(prompt(), llm(model(provider, name), model(provider, name + "-fallback")))
    provider.wait_for_call(name)

    asked_at = time.time()
    client.cancel(run_id)

    call = provider.wait_until_ended(name)
    assert call["closed_by_client"]
    assert call["began_at"] + call["open_seconds"] - asked_at < CLOSE_BOUND_SECONDS
    assert client.finish(run_id)["type"] == "run_cancelled"
    assert provider.calls(name + "-fallback") == []


def test_many_runs_share_the_worker(client: RunClient, provider: ScriptedDaemon, name: str) -> None:
    provider.script(name, [{"text": "word " * 20, "split": 5, "pause": 0.01}, {"wait": name}, FINISH])

    runs = [client.create(prompt(), llm(model(provider, name))) for _ in range(40)]
    wait_until(lambda: provider.stats()["open"] == 40, timeout=60)
    provider.release(name)

    assert [client.finish(run_id)["data"]["output"] for run_id in runs] == ["word " * 20] * 40
    wait_until(lambda: provider.stats()["open"] == 0)


def test_a_conversation_goes_on_with_another_provider(client: RunClient, provider: ScriptedDaemon, name: str) -> None:
    provider.script(name, HELLO)
    layers = [{"name": "history", "type": "pydantic_ai.history"}, llm(model(provider, name))]
    first = client.finish(client.create(prompt("First."), *layers))

    snapshot = first["data"]["session_snapshot"]
    second = client.finish(client.create(prompt("Second."), *layers, session_snapshot=snapshot))

    assert second["type"] == "run_succeeded"
    assert [item["content"] for item in provider.calls(name)[1]["body"]["messages"]] == [
        "First.",
        "Hello there",
        "Second.",
    ]
    assert KEY not in json.dumps(snapshot)


def test_it_is_the_default_model_when_the_operator_says_so(
    start_server: StartServer, provider: ScriptedDaemon, name: str
) -> None:
    provider.script(name, HELLO)
    default = json.dumps({"type": "greenrun.llm", "config": model(provider, name)})
    client = RunClient(start_server(redis_prefix="direct-default", default_llm=default, allow_private_urls=True).url)

    end = client.finish(client.create(prompt()))

    assert end["data"]["output"] == "Hello there"
    assert list(end["data"]["session_snapshot"]["layers"][0]) == ["name", "lifecycle_state", "runtime_state"]
    assert len(end["data"]["session_snapshot"]["layers"]) == 1


@pytest.mark.parametrize("attack", ["endless_line", "gzip_twice"])
def test_a_file_of_a_snapshot_cannot_exhaust_a_worker(
    client: RunClient, provider: ScriptedDaemon, name: str, attack: str
) -> None:
    provider.script(name, HELLO)
    layers = [llm(model(provider, name)), {"name": "history", "type": "pydantic_ai.history"}]
    snapshot = client.finish(client.create(prompt("First."), *layers))["data"]["session_snapshot"]
    [history] = [layer for layer in snapshot["layers"] if layer["name"] == "history"]
    [said, *_] = history["runtime_state"]["messages"]

    with running_hostile_server() as hostile:
        image = {"kind": "image-url", "url": f"{hostile}/{attack}/a.png", "force_download": True}
        said["parts"][-1]["content"] = ["Look:", image]
        end = client.finish(client.create(prompt("Second."), *layers, session_snapshot=snapshot))

    assert (end["type"], end["data"]["reason"]) == ("run_failed", "file_not_fetched")
    assert len(provider.calls(name)) == 1


# What the operator has not allowed


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "169.254.1.1"])
def test_a_private_base_url_is_refused_before_anything_is_stored(server: GunicornServer, host: str) -> None:
    config = {"model": "openai:llama", "base_url": f"http://{host}:8000/v1"}

    response = RunClient(server.url).post({"composition": {"layers": [prompt(), llm(config)]}})

    assert response.status_code == 422
    assert response.json()["code"] == "invalid_composition"
    assert "base_url names a private address" in response.json()["detail"]


def test_a_provider_that_is_not_allowed_is_refused(start_server: StartServer) -> None:
    client = RunClient(start_server(redis_prefix="direct-allowed", allowed_providers='["google"]').url)
    config = {"model": "openai:gpt-5", "credentials": {"api_key": KEY}}

    response = client.post({"composition": {"layers": [prompt(), llm(config)]}})

    assert response.status_code == 422
    assert "does not allow openai" in response.json()["detail"]
    assert KEY not in response.text


def test_a_provider_without_a_key_is_refused(client: RunClient) -> None:
    response = client.post({"composition": {"layers": [prompt(), llm({"model": "openai:gpt-5"})]}})

    assert response.status_code == 422
    assert "model 'openai:gpt-5' needs credentials.api_key" in response.json()["detail"]
