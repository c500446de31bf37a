"""Idempotency keys: a repeated request makes one run, on whichever worker, even at the same moment."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from redis import Redis

from tests.conftest import StartServer, environment
from tests.support.client import RunClient, demo_llm, plugin_layers, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer

HEADER = "Idempotency-Key"
STRICT_PREFIX = "strict-keys"
TOKEN = "strict-token"

Json = dict[str, Any]
Settings = dict[str, str | int | float]


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


@pytest.fixture(scope="module")
def strict_server(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[GunicornServer]:
    """A server that refuses more: callers without its token, large bodies, and more than one run at once."""
    settings: Settings = {"redis_prefix": STRICT_PREFIX, "max_active_runs": 1, "max_waiting_runs": 0}
    env = environment(redis_server.url, daemon.url, **settings, api_token=TOKEN, max_request_bytes=2048)
    with running_server(env) as server:
        yield server


@pytest.fixture
def strict(strict_server: GunicornServer) -> RunClient:
    return RunClient(strict_server.url, token=TOKEN)


@pytest.fixture
def redis(redis_server: RedisServer) -> Redis:
    return redis_server.client()


def body(*layers: Json, **rest: Any) -> Json:
    return {"composition": {"layers": list(layers or (prompt(), demo_llm()))}, **rest}


def post(client: RunClient, content: Json, **headers: str | bytes) -> requests.Response:
    return client.session.post(f"{client.url}/runs", json=content, headers=headers, timeout=30)


def run_of(response: requests.Response) -> str:
    assert response.status_code == 202, response.text
    return str(response.json()["run_id"])


def keys_below(redis: Redis, prefix: str) -> set[bytes]:
    return set(redis.scan_iter(f"{prefix}:*"))


def content_of(redis: Redis, name: bytes) -> bytes:
    """All that Redis has stored under a key, as text."""
    match redis.type(name):
        case b"stream":
            return repr(redis.xrange(name)).encode()
        case b"zset":
            return repr(redis.zrange(name, 0, -1)).encode()
        case _:
            return repr(redis.get(name)).encode()


# The same request


def test_fifty_duplicates_at_once_on_three_workers_make_one_run(
    server: GunicornServer, start_server: StartServer, daemon: ScriptedDaemon, key: str
) -> None:
    daemon.script("fifty", [{"text": "done"}, {"finish": "stop"}])
    other = start_server()
    content = body(prompt(), *plugin_layers("fifty"), idempotency_key=key)

    def duplicate(number: int) -> requests.Response:
        return RunClient((server if number % 2 else other).url).post(content)

    with ThreadPoolExecutor(50) as callers:
        responses = list(callers.map(duplicate, range(50)))

    assert {response.status_code for response in responses} == {202}
    run_ids = {run_of(response) for response in responses}
    assert len(run_ids) == 1
    assert {response.json()["status"] for response in responses} <= {"running", "succeeded"}
    assert RunClient(other.url).finish(run_ids.pop())["data"]["output"] == "done"
    assert len(daemon.calls("fifty")) == 1


def test_a_repeated_request_answers_with_the_status_that_the_run_has_by_now(
    client: RunClient, daemon: ScriptedDaemon, key: str
) -> None:
    daemon.script("by-now", [{"wait": "by-now"}, {"text": "done"}, {"finish": "stop"}])
    content = body(prompt(), *plugin_layers("by-now"), idempotency_key=key)
    run_id = run_of(client.post(content))

    while_running = client.post(content)
    daemon.release("by-now")
    client.finish(run_id)
    afterwards = client.post(content)

    assert while_running.json() == {"run_id": run_id, "status": "running"}
    assert (afterwards.status_code, afterwards.json()) == (202, {"run_id": run_id, "status": "succeeded"})
    assert len(daemon.calls("by-now")) == 1


def test_the_header_and_the_body_give_the_same_key(client: RunClient, key: str) -> None:
    by_header = run_of(post(client, body(), **{HEADER: key}))

    assert run_of(post(client, body(idempotency_key=key))) == by_header
    assert run_of(post(client, body(idempotency_key=key), **{HEADER: key})) == by_header


def test_explicit_defaults_and_the_order_of_keys_make_no_difference(client: RunClient, key: str) -> None:
    spelt_out = {"metadata": {}, "session_snapshot": None, "on_exit": {"layers": {}, "default": "suspend"}, **body()}
    spelt_out["composition"] = {**spelt_out["composition"], "schema_version": 1}

    run_id = run_of(post(client, body(), **{HEADER: key}))

    assert run_of(post(client, spelt_out, **{HEADER: key})) == run_id


def test_requests_without_a_key_make_a_run_each(client: RunClient) -> None:
    assert run_of(client.post(body())) != run_of(client.post(body()))


# Another request


def test_another_request_under_the_same_key_is_refused_while_the_run_goes_on_and_after_it(
    client: RunClient, daemon: ScriptedDaemon, key: str
) -> None:
    daemon.script("conflict", [{"wait": "conflict"}, {"text": "done"}, {"finish": "stop"}])
    content = body(prompt(), *plugin_layers("conflict"), idempotency_key=key)
    run_id = run_of(client.post(content))
    another = body(prompt("Say something else."), *plugin_layers("conflict"), idempotency_key=key)

    while_running = client.post(another)
    daemon.release("conflict")
    terminal = client.finish(run_id)
    afterwards = client.post(another)

    for response in (while_running, afterwards):
        assert (response.status_code, response.json()["code"]) == (409, "idempotency_key_reused")
    assert terminal["type"] == "run_succeeded"
    assert len(daemon.calls("conflict")) == 1


# Another request in Dify's dialects


def of_dify(words: str, model: str, key: str) -> Json:
    """A request of the dialect 2026-06-16."""
    request = body(prompt(words), *plugin_layers(model), idempotency_key=key, deferred_tool_results=None)
    return {**request, "purpose": "workflow_node"}


def test_in_a_dialect_of_dify_another_request_may_take_the_key_once_the_run_has_ended(
    client: RunClient, daemon: ScriptedDaemon, key: str
) -> None:
    daemon.script(key, [{"wait": key}, {"text": "first"}, {"finish": "stop"}], [{"text": "second"}, {"finish": "stop"}])
    first = run_of(client.post(of_dify("Begin.", key, key)))

    while_running = client.post(of_dify("Go on.", key, key))
    daemon.release(key)
    client.finish(first)
    repeated = client.post(of_dify("Begin.", key, key))
    second = run_of(client.post(of_dify("Go on.", key, key)))

    assert (while_running.status_code, while_running.json()["code"]) == (409, "idempotency_key_reused")
    assert repeated.json() == {"run_id": first, "status": "succeeded"}
    assert second != first
    assert client.finish(second)["data"]["output"] == "second"
    assert run_of(client.post(of_dify("Go on.", key, key))) == second
    assert client.status(first)["status"] == "succeeded"
    assert len(daemon.calls(key)) == 2


def test_the_dialect_of_the_new_request_decides_whether_it_may_take_the_key(
    client: RunClient, daemon: ScriptedDaemon, key: str
) -> None:
    daemon.script(key, [{"text": "done"}, {"finish": "stop"}])
    first = run_of(client.post(body(prompt(), *plugin_layers(key), idempotency_key=key)))
    client.finish(first)

    second = run_of(client.post(of_dify("Go on.", key, key)))
    client.finish(second)
    third = client.post(body(prompt(), *plugin_layers(key), idempotency_key=key))

    assert second != first
    assert (third.status_code, third.json()["code"]) == (409, "idempotency_key_reused")


def test_of_many_requests_that_want_the_key_of_an_ended_run_one_gets_it(
    client: RunClient, daemon: ScriptedDaemon, key: str
) -> None:
    daemon.script(key, [{"text": "done"}, {"finish": "stop"}], [{"wait": key}, {"text": "done"}, {"finish": "stop"}])
    client.finish(run_of(client.post(of_dify("Begin.", key, key))))

    def go_on(number: int) -> requests.Response:
        return RunClient(client.url).post(of_dify(f"Go on with {number}.", key, key))

    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(go_on, range(16)))

    winners = [answer for answer in answers if answer.status_code == 202]
    losers = [answer for answer in answers if answer.status_code != 202]
    assert len(winners) == 1
    assert {(answer.status_code, answer.json()["code"]) for answer in losers} == {(409, "idempotency_key_reused")}
    daemon.release(key)
    assert client.finish(run_of(winners[0]))["type"] == "run_succeeded"
    assert len(daemon.calls(key)) == 2


def test_a_full_worker_says_so_to_another_request_of_dify_under_the_key_of_an_ended_run(
    strict: RunClient, daemon: ScriptedDaemon, key: str
) -> None:
    daemon.script(key, [{"text": "done"}, {"finish": "stop"}], [{"hang": True}])
    responses: list[requests.Response] = []

    def is_accepted(content: Json) -> bool:
        """The run of the test before may still hold the only place."""
        responses.append(strict.post(content))
        return responses[-1].status_code == 202

    wait_until(lambda: is_accepted(of_dify("Begin.", key, key)))
    strict.finish(run_of(responses[-1]))
    wait_until(lambda: is_accepted(of_dify("Fill.", key, f"{key}-other")))
    daemon.wait_for_call(key, count=2)

    assert strict.post(of_dify("Go on.", key, key)).json()["code"] == "run_capacity_reached"
    assert strict.post(of_dify("Again.", key, f"{key}-other")).json()["code"] == "idempotency_key_reused"
    strict.cancel(run_of(responses[-1]))


# Keys in a header


@pytest.mark.parametrize(
    "header",
    ["", "x" * 513, "ключ".encode(), "another"],
    ids=["blank", "too long", "not ASCII", "not the one of the body"],
)
def test_an_invalid_key_header_is_refused(client: RunClient, header: str | bytes) -> None:
    response = post(client, body(idempotency_key="the-key-of-the-body"), **{HEADER: header})

    assert (response.status_code, response.json()["code"]) == (422, "invalid_param")
    assert response.json()["detail"][0]["loc"] == ["header", HEADER]


@pytest.mark.parametrize("blank", ["", "  \t"])
def test_a_blank_key_in_the_body_is_refused(client: RunClient, blank: str) -> None:
    response = client.post(body(idempotency_key=blank))

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "idempotency_key"]


# A key that is free again


@pytest.mark.parametrize("same", [True, False], ids=["the same request", "another request"])
def test_a_key_whose_run_has_failed_may_be_used_again(
    client: RunClient, daemon: ScriptedDaemon, key: str, same: bool
) -> None:
    model = f"fails-once-{same}"
    fails, answers = [{"error": {"error_type": "InvokeError", "message": "no"}}], [{"text": "yes"}, {"finish": "stop"}]
    daemon.script(model, fails, answers)
    failed = run_of(client.post(body(prompt(), *plugin_layers(model), idempotency_key=key)))
    assert client.finish(failed)["type"] == "run_failed"
    words = "Summarize the current state." if same else "Say something else."

    again = run_of(client.post(body(prompt(words), *plugin_layers(model), idempotency_key=key)))

    assert again != failed
    assert client.finish(again)["data"]["output"] == "yes"
    assert client.status(failed)["status"] == "failed"


def test_a_key_whose_run_was_cancelled_may_be_used_again(client: RunClient, daemon: ScriptedDaemon, key: str) -> None:
    daemon.script("cancelled-once", [{"hang": True}], [{"text": "yes"}, {"finish": "stop"}])
    content = body(prompt(), *plugin_layers("cancelled-once"), idempotency_key=key)
    cancelled = run_of(client.post(content))
    daemon.wait_for_call("cancelled-once")
    client.cancel(cancelled)

    again = run_of(client.post(content))

    assert again != cancelled
    assert client.finish(again)["data"]["output"] == "yes"
    assert run_of(client.post(content)) == again


@pytest.mark.parametrize("same", [True, False], ids=["the same request", "another request"])
def test_a_key_whose_run_is_gone_may_be_used_again(client: RunClient, redis: Redis, key: str, same: bool) -> None:
    gone = run_of(client.post(body(idempotency_key=key)))
    client.finish(gone)
    redis.delete(f"greenrun-test:runs:{gone}:record")
    content = body(idempotency_key=key) if same else body(prompt("Else."), demo_llm(), idempotency_key=key)

    again = run_of(client.post(content))

    assert again != gone
    assert client.finish(again)["type"] == "run_succeeded"
    assert run_of(client.post(content)) == again


def test_a_create_whose_answer_was_lost_leaves_its_key_free(
    start_server: StartServer, redis_server: RedisServer, redis: Redis, key: str
) -> None:
    client = RunClient(start_server(redis_prefix="lost-key", lease_seconds=3).url)
    client.finish(client.create(prompt()))  # so that Redis knows the scripts from here on
    before = keys_below(redis, "lost-key")
    redis_server.pause()
    try:
        response = client.post(body(idempotency_key=key))
    finally:
        redis_server.resume()

    assert (response.status_code, response.json()["code"]) == (503, "storage_unavailable")
    new = [name for name in wait_for_new_keys(redis, "lost-key", before) if name.endswith(b":record")]
    lost = new[0].decode().split(":")[2]
    client.wait_for_status(lost, "failed")

    again = run_of(client.post(body(idempotency_key=key)))

    assert again != lost
    assert client.finish(again)["type"] == "run_succeeded"


def wait_for_new_keys(redis: Redis, prefix: str, before: set[bytes]) -> set[bytes]:
    wait_until(lambda: any(name.endswith(b":record") for name in keys_below(redis, prefix) - before))
    return keys_below(redis, prefix) - before


# What is stored


def test_a_refused_request_stores_nothing(strict: RunClient, daemon: ScriptedDaemon, redis: Redis, key: str) -> None:
    daemon.script("occupies", [{"hang": True}])
    occupying = strict.create(prompt(), *plugin_layers("occupies"))
    daemon.wait_for_call("occupies")
    before = keys_below(redis, STRICT_PREFIX)

    refused = {
        401: post(RunClient(strict.url), body(), **{HEADER: key}),
        413: post(strict, body(prompt("word " * 1000)), **{HEADER: key}),
        422: post(strict, body({"name": "prompt", "type": "no.such.layer"}), **{HEADER: key}),
        503: post(strict, body(), **{HEADER: key}),
    }

    assert {status: response.status_code for status, response in refused.items()} == {
        status: status for status in refused
    }
    assert refused[503].json()["code"] == "run_capacity_reached"
    assert keys_below(redis, STRICT_PREFIX) == before
    strict.cancel(occupying)
    wait_until(lambda: post(strict, body(), **{HEADER: key}).status_code == 202)


def test_a_full_worker_knows_the_runs_it_has_made(strict: RunClient, daemon: ScriptedDaemon, key: str) -> None:
    daemon.script("full", [{"hang": True}])
    content = body(prompt(), *plugin_layers("full"))
    made: list[requests.Response] = []

    def is_made() -> bool:
        """The run of the test before may still hold the only place."""
        made.append(post(strict, content, **{HEADER: key}))
        return made[-1].status_code == 202

    wait_until(is_made)
    daemon.wait_for_call("full")

    assert post(strict, content, **{HEADER: key}).json() == made[-1].json()
    assert post(strict, body(), **{HEADER: key}).json()["code"] == "idempotency_key_reused"
    assert post(strict, content, **{HEADER: "another"}).json()["code"] == "run_capacity_reached"
    strict.cancel(run_of(made[-1]))


def test_only_a_digest_of_a_key_is_stored_for_as_long_as_its_run(client: RunClient, redis: Redis, key: str) -> None:
    before = keys_below(redis, "greenrun-test:idempotency")

    run_id = run_of(client.post(body(idempotency_key=key)))
    client.finish(run_id)

    stored = keys_below(redis, "greenrun-test")
    new = stored & keys_below(redis, "greenrun-test:idempotency") - before
    assert len(new) == 1
    assert [name for name in stored if key.encode() in name + content_of(redis, name)] == []
    lifetimes = [redis.ttl(new.pop()), redis.ttl(f"greenrun-test:runs:{run_id}:record")]
    assert min(lifetimes) > 0
    assert max(lifetimes) - min(lifetimes) <= 5
