"""``POST /structured-output/validate``, over HTTP."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.conftest import StartServer, environment
from tests.support.client import wait_until
from tests.support.databases import migrate
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.process_tree import CHECKS, descendants, still_running
from tests.support.redis_server import RedisServer

PATH = "/structured-output/validate"
KEY = {"Authorization": "Bearer first-admin"}
MAX_BYTES = 4_000_000
CANARY = "sk-canary-90a1"
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "array", "items": {"$ref": "#/$defs/number"}}, "b": {}, "a": {}},
    "required": ["n"],
    "$defs": {"number": {"type": "integer"}},
}


@pytest.fixture(scope="module")
def guarded(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GunicornServer]:
    """A server with one worker, two admin tokens, another token for runs, and a database of keys."""
    url = f"sqlite:///{tmp_path_factory.mktemp('database')}/test.db"
    migrate(url)
    env = environment(
        database_url=url,
        redis_url=redis_server.url,
        daemon_url="http://127.0.0.1:9",
        redis_prefix="structured-output",
        admin_token="first-admin, second-admin",
        api_token="run-token",
        max_request_bytes=MAX_BYTES,
    )
    with running_server(env) as server:
        yield server


def validate(server: GunicornServer, **body: Any) -> dict[str, Any]:
    response = server.post(PATH, json={"schema": SCHEMA, **body}, headers=KEY)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/json"
    return dict(response.json())


def error(response: requests.Response, status: int, code: str) -> Any:
    """Returns the detail of an error, which must have the shape of all errors of the service."""
    body = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code), response.text
    assert set(body) == {"code", "message", "status", "detail"}
    return body["detail"]


def large() -> str:
    """A text that takes most of a second to check: even on a busy machine far less than a check may take."""
    return json.dumps({"n": list(range(40_000))})


# What is valid, repaired, replaced and refused


@pytest.mark.parametrize("given", [{"text": '{"n": [1]}'}, {"value": {"n": [1]}}, {"text": None, "value": {"n": [1]}}])
def test_a_valid_output_is_returned_as_it_is(guarded: GunicornServer, given: dict[str, Any]) -> None:
    answer = validate(guarded, **given)

    assert answer == {"valid": True, "value": {"n": [1]}, "source": "direct", "repairs": [], "errors": []}


def test_a_repaired_output_says_what_was_repaired(guarded: GunicornServer) -> None:
    answer = validate(guarded, text='So: {"n": [1,]}', repair="safe")

    repairs = [{"kind": "surrounding_text", "offset": 0}, {"kind": "trailing_commas", "offset": 12}]
    assert answer == {"valid": True, "value": {"n": [1]}, "source": "repaired", "repairs": repairs, "errors": []}


@pytest.mark.parametrize(
    ("given", "offset"),
    [
        ({"text": '{"n": "[1]"}'}, 6),
        ({"text": json.dumps('{"n": [1]}')}, 0),
        ({"value": {"n": "[1]"}}, 6),
        ({"value": '{"n": [1]}'}, 0),
    ],
)
def test_a_string_of_json_is_unwrapped_by_safe_repair_and_not_without(
    guarded: GunicornServer, given: dict[str, Any], offset: int
) -> None:
    unwrapped = validate(guarded, **given, repair="safe")
    refused = validate(guarded, **given)

    repairs = [{"kind": "json_in_string", "offset": offset}]
    assert unwrapped == {"valid": True, "value": {"n": [1]}, "source": "repaired", "repairs": repairs, "errors": []}
    assert refused["valid"] is False


def test_an_invalid_output_has_no_value(guarded: GunicornServer) -> None:
    answer = validate(guarded, text='{"n": ["x"]}', repair="lenient")

    problem = {"path": "$.n[0]", "message": "'x' is not of type 'integer'", "validator": "type"}
    assert answer == {"valid": False, "source": None, "repairs": [], "errors": [problem]}


def test_an_unreadable_text_does_not_blame_the_schema(guarded: GunicornServer) -> None:
    answer = validate(guarded, text="{")

    (problem,) = answer["errors"]
    assert (problem["path"], problem["validator"]) == ("$", None)
    assert problem["message"].startswith("not valid JSON: ")


def test_each_problem_names_its_place_and_its_keyword(guarded: GunicornServer) -> None:
    schema = {"type": "array", "items": {"type": "string", "maxLength": 1}, "maxItems": 1}

    answer = validate(guarded, schema=schema, value=["a", "bc", 3])

    assert {(problem["path"], problem["validator"]) for problem in answer["errors"]} == {
        ("$", "maxItems"),
        ("$[1]", "maxLength"),
        ("$[2]", "type"),
    }
    assert all(set(problem) == {"path", "message", "validator"} for problem in answer["errors"])


@pytest.mark.parametrize(
    ("schema", "given", "valid", "value"),
    [
        (True, {"value": None}, True, None),
        (True, {"text": "[1, 2]"}, True, [1, 2]),
        ({}, {"value": 5}, True, 5),
        ({"type": "array", "items": {"type": "integer"}}, {"text": "Here: [1, 2,]", "repair": "safe"}, True, [1, 2]),
        ({"type": "array"}, {"text": "[1, {a: 'b'", "repair": "lenient"}, True, [1, {"a": "b"}]),
        ({"type": "integer"}, {"text": "42"}, True, 42),
        ({"type": "integer"}, {"text": "```json\n42\n```", "repair": "safe"}, True, 42),
        ({"type": "string"}, {"text": '"Paris"'}, True, "Paris"),
        ({"type": ["boolean", "null"]}, {"text": "null"}, True, None),
        ({"enum": ["yes", "no"]}, {"value": "no"}, True, "no"),
        ({"type": "string"}, {"value": 5, "default": "none"}, False, "none"),
        ({"type": "array"}, {"value": {}, "default": []}, False, []),
    ],
)
def test_a_schema_may_ask_for_any_value(
    guarded: GunicornServer, schema: Any, given: dict[str, Any], valid: bool, value: Any
) -> None:
    answer = validate(guarded, schema=schema, **given)

    assert (answer["valid"], answer["value"]) == (valid, value)
    assert bool(answer["errors"]) is not valid


@pytest.mark.parametrize(
    ("schema", "given"),
    [
        (False, {"value": {}}),
        ({"type": "array"}, {"value": {}}),
        ({"type": "string"}, {"text": "Paris"}),
        ({"type": "string"}, {"text": "Paris", "repair": "lenient"}),
        ({"type": "integer"}, {"value": True}),
        ({"type": "null"}, {"text": ""}),
        ({"not": {}}, {"value": 1}),
    ],
)
def test_a_value_of_any_other_kind_is_invalid(guarded: GunicornServer, schema: Any, given: dict[str, Any]) -> None:
    answer = validate(guarded, schema=schema, **given)

    assert answer["valid"] is False
    assert "value" not in answer


def test_a_large_list_is_checked_and_repaired_like_an_object(guarded: GunicornServer) -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    numbers = list(range(20_000))

    checked = validate(guarded, schema=schema, text=json.dumps(numbers))
    guessed = validate(guarded, schema=schema, text=json.dumps(numbers)[:-1], repair="lenient")
    refused = validate(guarded, schema=schema, text=json.dumps([*numbers, "x"]))

    assert checked["value"] == guessed["value"] == numbers
    assert guessed["repairs"] == [{"kind": "json_repair", "offset": len(json.dumps(numbers)) - 1}]
    place = {"path": "$[20000]", "message": "'x' is not of type 'integer'", "validator": "type"}
    assert refused["errors"] == [place]


def test_a_default_is_marked_and_does_not_look_valid(guarded: GunicornServer) -> None:
    answer = validate(guarded, text="no", default={"n": []})

    assert answer["errors"]
    assert {**answer, "errors": []} == {
        "valid": False,
        "value": {"n": []},
        "source": "default",
        "repairs": [],
        "errors": [],
    }


@pytest.mark.parametrize("value", [None, [], "text", 5, True, {"n": {}}, {"n": [1.5]}])
def test_a_value_of_another_type_is_invalid(guarded: GunicornServer, value: Any) -> None:
    assert validate(guarded, value=value)["valid"] is False


def test_keys_keep_their_order_and_numbers_their_digits(guarded: GunicornServer) -> None:
    text = '{"n": [123456789012345678901234567890], "b": "\\u2028é", "a": 1.50}'

    response = guarded.post(PATH, json={"schema": SCHEMA, "text": text}, headers=KEY)

    assert f'"value": {text},' in response.text


# Who may call it


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        "Bearer run-token",
        "Bearer ws-unknown",
        "Bearer app-unknown",
        "Basic first-admin",
        "Bearer first-admin, second-admin",
    ],
)
def test_without_a_token_or_a_key_nobody_is_answered(guarded: GunicornServer, header: str | None) -> None:
    headers = {"Authorization": header} if header is not None else {}

    response = guarded.post(PATH, data="judged later", headers=headers)

    error(response, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer first-admin", "bearer second-admin"])
def test_each_admin_key_is_answered(guarded: GunicornServer, header: str) -> None:
    response = guarded.post(PATH, json={"schema": SCHEMA, "value": {"n": []}}, headers={"Authorization": header})

    assert response.status_code == 200


def test_a_key_of_a_workspace_is_answered_until_it_is_revoked(guarded: GunicornServer) -> None:
    made = guarded.post("/keys", json={"kind": "workspace"}, headers=KEY).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    body = {"schema": SCHEMA, "value": {"n": [1]}}

    response = guarded.post(PATH, json=body, headers=headers)
    of_another_tenant = guarded.post(PATH, json=body, headers={**headers, "X-Tenant-Id": "other"})
    guarded.session.delete(f"{guarded.url}/keys/{made['id']}", headers=KEY, timeout=30)
    ended = guarded.post(PATH, json=body, headers=headers)

    assert (response.status_code, response.json()["valid"]) == (200, True)
    error(of_another_tenant, 403, "tenant_not_allowed")
    error(ended, 401, "unauthorized")


def test_a_key_of_an_app_is_not_answered(guarded: GunicornServer) -> None:
    soul = {"prompt": {"system_prompt": "You are concise."}}
    agent = guarded.post("/agents", json={"name": "Ada", "agent_soul": soul}, headers=KEY).json()
    made = guarded.post("/keys", json={"kind": "app", "agent_id": agent["id"]}, headers=KEY).json()
    headers = {"Authorization": f"Bearer {made['key']}"}

    response = guarded.post(PATH, json={"schema": SCHEMA, "value": {}}, headers=headers)

    error(response, 403, "key_not_allowed")


def test_an_admin_key_opens_runs_as_well(guarded: GunicornServer) -> None:
    error(guarded.get("/runs/x", headers=KEY), 404, "run_not_found")


@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer None", "Bearer anything"])
def test_without_any_admin_token_the_route_is_closed_to_everybody(server: GunicornServer, header: str | None) -> None:
    headers = {"Authorization": header} if header is not None else {}

    response = server.post(PATH, json={"schema": SCHEMA, "value": {}}, headers=headers)

    error(response, 401, "unauthorized")


# Bodies that are malformed


@pytest.mark.parametrize(
    ("body", "kind", "place"),
    [
        ({}, "missing", ["body", "schema"]),
        ({"schema": SCHEMA}, "value_error", ["body"]),
        ({"schema": SCHEMA, "text": "{}", "value": {}}, "value_error", ["body"]),
        ({"schema": SCHEMA, "text": None}, "value_error", ["body"]),
        ({"schema": SCHEMA, "text": 5}, "string_type", ["body", "text"]),
        ({"schema": SCHEMA, "text": ["{}"]}, "string_type", ["body", "text"]),
        ({"schema": [], "text": "{}"}, "schema_type", ["body", "schema"]),
        ({"schema": None, "text": "{}"}, "schema_type", ["body", "schema"]),
        ({"schema": "{}", "text": "{}"}, "schema_type", ["body", "schema"]),
        ({"schema": 1, "text": "{}"}, "schema_type", ["body", "schema"]),
        ({"schema": SCHEMA, "text": "{}", "repair": "some"}, "enum", ["body", "repair"]),
        ({"schema": SCHEMA, "text": "{}", "repair": None}, "enum", ["body", "repair"]),
        ({"schema": SCHEMA, "text": "{}", "json_schema": {}}, "extra_forbidden", ["body", "json_schema"]),
        ([], "model_attributes_type", ["body"]),
        ("{}", "model_attributes_type", ["body"]),
    ],
)
def test_a_malformed_body_is_refused_with_400_and_the_place(
    guarded: GunicornServer, body: Any, kind: str, place: list[str]
) -> None:
    detail = error(guarded.post(PATH, json=body, headers=KEY), 400, "invalid_param")

    assert [(item["type"], item["loc"]) for item in detail] == [(kind, place)]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"schema": NaN}', b'{"text": "\\ud800"}', b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}"],
)
def test_a_body_that_is_not_json_is_refused_with_400(guarded: GunicornServer, body: bytes) -> None:
    headers = {**KEY, "Content-Type": "application/json"}

    error(guarded.post(PATH, data=body, headers=headers), 400, "invalid_param")


def test_other_content_types_are_refused(guarded: GunicornServer) -> None:
    error(guarded.post(PATH, data={"schema": "{}"}, headers=KEY), 400, "invalid_param")


def test_a_body_that_is_too_large_is_refused(guarded: GunicornServer) -> None:
    response = guarded.post(PATH, json={"schema": SCHEMA, "text": "x" * MAX_BYTES}, headers=KEY)

    error(response, 413, "request_too_large")


def test_the_run_routes_still_answer_422(guarded: GunicornServer) -> None:
    response = guarded.post("/runs", json={}, headers={"Authorization": "Bearer run-token"})

    error(response, 422, "invalid_param")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_refused(guarded: GunicornServer, method: str) -> None:
    error(guarded.session.request(method, guarded.url + PATH, headers=KEY, timeout=30), 405, "method_not_allowed")


# Schemas and defaults that cannot be used


@pytest.mark.parametrize(
    "body",
    [
        {"schema": {"type": CANARY}},
        {"schema": {"type": "array", "items": {"$ref": "#"}}},
        {"schema": False, "default": CANARY},
        {"schema": {"type": "integer"}, "default": CANARY},
        {"schema": {"type": "object", "properties": {"a": {"type": CANARY}}}},
        {"schema": {"type": "object", "$schema": CANARY}},
        {"schema": {"type": "object", "properties": {"a": {"$ref": f"https://{CANARY}"}}}},
        {"schema": {"type": "object", "properties": {"a": {"pattern": f"({CANARY}"}}}},
        {"schema": {"type": "object", "description": "x" * 300_000}},
        {"schema": SCHEMA, "default": {"n": [CANARY]}},
        {"schema": SCHEMA, "default": None},
        {"schema": SCHEMA, "default": [CANARY]},
    ],
)
def test_a_schema_or_default_that_cannot_be_used_is_refused_without_its_values(
    guarded: GunicornServer, body: dict[str, Any]
) -> None:
    response = guarded.post(PATH, json={"text": "{}", **body}, headers=KEY)

    assert error(response, 400, "invalid_output_schema")
    assert CANARY not in response.text
    assert CANARY not in guarded.log


# Large, hostile and concurrent requests


def test_an_output_above_a_megabyte_is_invalid(guarded: GunicornServer) -> None:
    answer = validate(guarded, text='{"n": [], "a": "' + "x" * 1_048_576 + '"}', repair="lenient")

    assert answer["errors"] == [{"path": "$", "message": "larger than 1,048,576 bytes", "validator": None}]


@pytest.mark.parametrize("text", ["[" * 1_000_000, '{"n":' * 200_000, '"' * 1_000_000, "\x00" * 1000, '{"a"' * 250_000])
def test_hostile_texts_are_invalid_and_the_server_lives(guarded: GunicornServer, text: str) -> None:
    assert validate(guarded, text=text, repair="lenient")["valid"] is False


def test_the_same_request_twice_at_once_is_answered_twice(guarded: GunicornServer) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: validate(guarded, text="{n: [1, 2]}", repair="lenient"), range(4)))

    assert [answer["repairs"] for answer in answers] == [[{"kind": "json_repair", "offset": 1}]] * 4


def test_other_requests_stay_quick_while_a_large_text_is_repaired(guarded: GunicornServer) -> None:
    text = large().replace('"n"', "n")
    validate(guarded, text="{n: []}", repair="lenient")  # so that the process exists
    waits: list[float] = []
    done = threading.Event()

    def ask_for_health() -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not done.is_set():
                begun = time.perf_counter()
                assert session.get(f"{guarded.url}/health", timeout=30).status_code == 200
                waits.append(time.perf_counter() - begun)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask_for_health)
        begun = time.perf_counter()
        answer = validate(guarded, text=text, repair="lenient")
        took = time.perf_counter() - begun
        done.set()
        asking.result()

    assert answer["source"] == "repaired"
    assert len(waits) > 10
    assert max(waits) < max(1.0, took / 2)


def test_a_checking_process_that_dies_is_a_503_and_the_next_request_is_served(start_server: StartServer) -> None:
    server = start_server(redis_prefix="dying-check", admin_token="first-admin")
    (worker,) = server.workers()
    pattern = {"type": "object", "properties": {"a": {"pattern": "^(?!z)(a+)+$"}}}
    text = '{"a": "' + "a" * 60 + '!"}'

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(server.post, PATH, json={"schema": pattern, "text": text}, headers=KEY)
        wait_until(lambda: descendants(worker, command=CHECKS))
        for pid in descendants(worker, command=CHECKS):
            os.kill(pid, signal.SIGKILL)

        response = asking.result()

    error(response, 503, "output_check_unavailable")
    assert validate(server, text=large())["valid"] is True


def test_a_worker_that_stops_leaves_no_checking_process_behind(start_server: StartServer) -> None:
    server = start_server(redis_prefix="leaving-none", admin_token="first-admin")
    validate(server, text=large())
    processes = descendants(server.pid)

    assert server.stop() == 0

    assert len(processes) == 3
    wait_until(lambda: not still_running(processes))


def test_a_killed_worker_leaves_no_checking_process_behind(start_server: StartServer) -> None:
    server = start_server(redis_prefix="leaving-none-either", admin_token="first-admin")
    validate(server, text=large())
    (worker,) = [pid for pid in descendants(server.pid) if descendants(pid)]
    checking = descendants(worker, command=CHECKS)

    os.kill(worker, signal.SIGKILL)

    assert checking
    wait_until(lambda: not still_running(checking))
