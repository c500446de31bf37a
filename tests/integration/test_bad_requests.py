"""Bad requests to the run API: which are refused, with what error, and that they leave nothing behind."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from redis import Redis

from tests.conftest import StartServer, environment
from tests.support.client import RunClient, demo_llm, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.redis_server import RedisServer

PREFIX = "refusals"
MAX_BYTES = 1_000_000
CANARY = "sk-canary-7f3a9"
JSON = "application/json"
UNKNOWN_RUN = "01a1f884-b753-710d-b464-93120ce7b7ee"
GREATEST_PART = 2**64 - 1

PLUGIN = {"name": "plugin", "type": "dify.plugin", "config": {"tenant_id": "t", "plugin_id": "a/b"}}
CONTEXT = {"name": "context", "type": "dify.execution_context", "config": {"tenant_id": "t", "invoke_from": "debugger"}}
HISTORY = {"name": "history", "type": "pydantic_ai.history"}
WITHOUT_STATE = {"name": "prompt", "lifecycle_state": "suspended"}
ENTRY: dict[str, Any] = {**WITHOUT_STATE, "runtime_state": {}}


def llm(deps: dict[str, Any], **config: Any) -> dict[str, Any]:
    whole = {"model_provider": "openai", "model": "gpt", "credentials": {"api_key": CANARY}, **config}
    return {"name": "llm", "type": "dify.plugin.llm", "deps": deps, "config": whole}


def composition(*layers: Any, **rest: Any) -> dict[str, Any]:
    return {"composition": {"layers": list(layers), **rest}}


class Door:
    """The run API of one server, with a view of its storage and of the calls to its plugin daemon."""

    def __init__(self, url: str, storage: Redis, daemon: socket.socket) -> None:
        self.url = url
        self.client = RunClient(url)
        self._storage = storage
        self._daemon = daemon

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        options = {"timeout": 60, "allow_redirects": False, **options}
        return self.client.session.request(method, self.url + path, **options)

    def post(self, body: Any, *, content_type: str | None = JSON, path: str = "/runs") -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, data=data, headers={"Content-Type": content_type} if content_type else {})

    def refuse(self, body: Any, *, status: int = 422, content_type: str | None = JSON) -> Any:
        """Posts a run that must be refused and leave nothing behind, and returns the detail of the error."""
        before = self._keys()
        response = self.post(body, content_type=content_type)
        detail = error_detail(response, status)
        assert CANARY not in response.text
        assert self._keys() == before
        assert not self._daemon_was_called()
        return detail

    def _keys(self) -> set[bytes]:
        return set(self._storage.scan_iter(f"{PREFIX}:runs:*"))

    def _daemon_was_called(self) -> bool:
        try:
            connection, _ = self._daemon.accept()
        except BlockingIOError:
            return False
        connection.close()
        return True


@pytest.fixture(scope="module")
def door(redis_server: RedisServer) -> Iterator[Door]:
    with socket.create_server(("127.0.0.1", 0)) as daemon:
        daemon.setblocking(False)
        daemon_url = f"http://127.0.0.1:{daemon.getsockname()[1]}"
        env = environment(redis_server.url, daemon_url, redis_prefix=PREFIX, max_request_bytes=MAX_BYTES)
        with running_server(env) as server:
            yield Door(server.url, redis_server.client(), daemon)


@pytest.fixture(scope="module")
def ended_run(door: Door) -> str:
    """The id of a run that has succeeded."""
    run_id = door.client.create(prompt(), demo_llm(answer="done"))
    assert door.client.finish(run_id)["type"] == "run_succeeded"
    return run_id


def error_detail(response: requests.Response, status: int) -> Any:
    """Returns the detail of an error, whose body must have the shape of all errors of the service."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == JSON
    body = response.json()
    assert set(body) == {"code", "message", "status", "detail"}
    assert body["status"] == status
    assert isinstance(body["code"], str)
    assert isinstance(body["message"], str)
    assert isinstance(body["detail"], str | list)
    return body["detail"]


def places(detail: Any) -> set[tuple[Any, ...]]:
    """The type and place of each problem."""
    for item in detail:
        assert set(item) - {"ctx"} == {"type", "loc", "msg", "input"}
    return {(item["type"], *item["loc"]) for item in detail}


# Bodies that are not JSON objects


@pytest.mark.parametrize(
    ("body", "position", "reason"),
    [
        (b"{", 1, "Expecting property name enclosed in double quotes"),
        (b'{"composition" {}}', 15, "Expecting ':' delimiter"),
        (b"composition=x", 0, "Expecting value"),
        (b'{"api_key": "' + CANARY.encode() + b'"', 29, "Expecting ',' delimiter"),
        (b" ", 1, "Expecting value"),
        (b'{"a": "\xff\xfe"}', 7, "Body is not UTF-8"),
        (b'{"a": NaN}', 0, "NaN is not JSON"),
        (b'{"a": -Infinity}', 0, "-Infinity is not JSON"),
        (b'{"a": 1e999}', 0, "A number is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", 0, "A number has too many digits"),
        (b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", 0, "Nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, 0, "Nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 0, "Nested too deeply"),
        (b'{"metadata": {"a": "\\ud800"}}', 0, "Half of a surrogate pair is no character"),
    ],
)
def test_a_body_that_is_not_json_is_refused_with_its_place(door: Door, body: bytes, position: int, reason: str) -> None:
    detail = door.refuse(body)

    assert places(detail) == {("json_invalid", "body", position)}
    assert detail[0]["ctx"] == {"error": reason}


def test_an_empty_body_is_missing(door: Door) -> None:
    assert places(door.refuse(b"")) == {("missing", "body")}


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json"]
)
def test_another_content_type_is_refused(door: Door, content_type: str) -> None:
    body = json.dumps(composition(prompt(CANARY))).encode()

    assert places(door.refuse(body, content_type=content_type)) == {("model_attributes_type", "body")}


@pytest.mark.parametrize("body", [[], [{"api_key": CANARY}], CANARY, 1, 1.5, True, None])
def test_json_that_is_not_an_object_is_refused(door: Door, body: Any) -> None:
    assert places(door.refuse(body)) == {("model_attributes_type", "body")}


# Fields


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, ("missing", "body", "composition")),
        ({"user_prompt": "Hello", **composition(prompt())}, ("extra_forbidden", "body", "user_prompt")),
        ({"composition": None}, ("model_type", "body", "composition")),
        ({"composition": []}, ("model_type", "body", "composition")),
        ({"composition": CANARY + " token"}, ("model_type", "body", "composition")),
        ({"composition": {}}, ("missing", "body", "composition", "layers")),
        ({"composition": {"layers": {}}}, ("list_type", "body", "composition", "layers")),
        ({"composition": {"layers": None}}, ("list_type", "body", "composition", "layers")),
        ({"composition": {"layers": [0] * 1001}}, ("too_long", "body", "composition", "layers")),
        (composition(prompt(), name="x"), ("extra_forbidden", "body", "composition", "name")),
        (composition(prompt(), schema_version="one"), ("int_parsing", "body", "composition", "schema_version")),
        (composition(prompt(), schema_version=None), ("int_type", "body", "composition", "schema_version")),
        (composition(1), ("model_type", "body", "composition", "layers", 0)),
        (composition(prompt(), {"type": "plain.prompt"}), ("missing", "body", "composition", "layers", 1, "name")),
        (composition({"name": "prompt"}), ("missing", "body", "composition", "layers", 0, "type")),
        (composition({**prompt(), "name": 1}), ("string_type", "body", "composition", "layers", 0, "name")),
        (composition({**prompt(), "type": None}), ("string_type", "body", "composition", "layers", 0, "type")),
        (composition({**prompt(), "deps": []}), ("dict_type", "body", "composition", "layers", 0, "deps")),
        (composition({**prompt(), "deps": {"a": 1}}), ("string_type", "body", "composition", "layers", 0, "deps", "a")),
        (composition({**prompt(), "metadata": None}), ("dict_type", "body", "composition", "layers", 0, "metadata")),
        (composition({**prompt(), "config": [CANARY]}), ("dict_type", "body", "composition", "layers", 0, "config")),
        (composition({**prompt(), "config": CANARY}), ("value_error", "body", "composition", "layers", 0, "config")),
        (composition({**prompt(), "config": "[]"}), ("value_error", "body", "composition", "layers", 0, "config")),
        (
            composition({**prompt(), "secret": CANARY}),
            ("extra_forbidden", "body", "composition", "layers", 0, "secret"),
        ),
        ({**composition(prompt()), "on_exit": None}, ("model_type", "body", "on_exit")),
        ({**composition(prompt()), "on_exit": {"default": "keep"}}, ("enum", "body", "on_exit", "default")),
        ({**composition(prompt()), "on_exit": {"default": None}}, ("enum", "body", "on_exit", "default")),
        (
            {**composition(prompt()), "on_exit": {"layers": {"prompt": "x"}}},
            ("enum", "body", "on_exit", "layers", "prompt"),
        ),
        ({**composition(prompt()), "on_exit": {"all": "delete"}}, ("extra_forbidden", "body", "on_exit", "all")),
        ({**composition(prompt()), "metadata": None}, ("dict_type", "body", "metadata")),
        ({**composition(prompt()), "metadata": [{"api_key": CANARY}]}, ("dict_type", "body", "metadata")),
        ({**composition(prompt()), "idempotency_key": 1}, ("string_type", "body", "idempotency_key")),
        ({**composition(prompt()), "idempotency_key": "x" * 600}, ("string_too_long", "body", "idempotency_key")),
        ({**composition(prompt()), "purpose": "fun"}, ("literal_error", "body", "purpose")),
        ({**composition(prompt()), "deferred_tool_results": []}, ("model_type", "body", "deferred_tool_results")),
        (
            {**composition(prompt()), "deferred_tool_results": {"calls": []}},
            ("dict_type", "body", "deferred_tool_results", "calls"),
        ),
        ({**composition(prompt()), "session_snapshot": {}}, ("missing", "body", "session_snapshot", "layers")),
        ({**composition(prompt()), "session_snapshot": "x"}, ("model_type", "body", "session_snapshot")),
        (
            {**composition(prompt()), "session_snapshot": {"layers": [{**ENTRY, "lifecycle_state": "dead"}]}},
            ("enum", "body", "session_snapshot", "layers", 0, "lifecycle_state"),
        ),
        (
            {**composition(prompt()), "session_snapshot": {"layers": [WITHOUT_STATE]}},
            ("missing", "body", "session_snapshot", "layers", 0, "runtime_state"),
        ),
        (
            {**composition(prompt()), "session_snapshot": {"layers": [{**WITHOUT_STATE, "runtime_state": None}]}},
            ("dict_type", "body", "session_snapshot", "layers", 0, "runtime_state"),
        ),
        ({**composition(prompt()), "execution_context": "t"}, ("dict_type", "body", "execution_context")),
        (
            {**composition(prompt()), "session_snapshot": {"layers": [], "usage": 1}},
            ("extra_forbidden", "body", "session_snapshot", "usage"),
        ),
    ],
)
def test_a_wrong_field_is_refused_with_its_place(door: Door, body: dict[str, Any], problem: tuple[Any, ...]) -> None:
    assert places(door.refuse(body)) == {problem}


def test_all_wrong_fields_are_reported_at_once(door: Door) -> None:
    body = {"composition": {"layers": [{"name": 1, "x": 2}]}, "on_exit": None}

    assert places(door.refuse(body)) == {
        ("string_type", "body", "composition", "layers", 0, "name"),
        ("missing", "body", "composition", "layers", 0, "type"),
        ("extra_forbidden", "body", "composition", "layers", 0, "x"),
        ("model_type", "body", "on_exit"),
    }


# Compositions that cannot run


def snapshot(*entries: tuple[str, str], **rest: Any) -> dict[str, Any]:
    layers = [{"name": name, "lifecycle_state": state, "runtime_state": {}} for name, state in entries]
    return {"layers": layers, **rest}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (composition(), "run.user_prompts must not be empty"),
        (composition(prompt("")), "run.user_prompts must not be empty"),
        (composition(prompt(" \n\t ")), "run.user_prompts must not be empty"),
        (composition(prompt(["", " "])), "run.user_prompts must not be empty"),  # type: ignore[arg-type]
        (
            composition({"name": "prompt", "type": "plain.prompt", "config": {"prefix": "p", "suffix": "s"}}),
            "run.user_prompts must not be empty",
        ),
        (composition({"name": "prompt", "type": "plain.prompt"}), "run.user_prompts must not be empty"),
        (composition(prompt(), schema_version=2), "composition.schema_version 2 is not supported"),
        (composition(prompt(), schema_version=0), "composition.schema_version 0 is not supported"),
        (composition({**prompt(), "name": ""}), "a layer has an empty name"),
        (composition({**prompt(), "name": "  "}), "a layer has an empty name"),
        (composition(prompt(), prompt()), "layer name 'prompt' is used twice"),
        (composition(prompt(), HISTORY, HISTORY), "layer name 'history' is used twice"),
        (
            composition(prompt(), HISTORY, {**HISTORY, "name": "history2"}),
            "layer 'history2': a layer of type 'pydantic_ai.history' must be named 'history'",
        ),
        (
            composition(prompt(), PLUGIN, {**llm({"plugin": "plugin"}), "name": "model"}),
            "layer 'model': a layer of type 'dify.plugin.llm' must be named 'llm'",
        ),
        (
            composition(prompt(), {**demo_llm(), "name": "demo"}),
            "layer 'demo': a layer of type 'greenrun.demo_llm' must be named 'llm'",
        ),
        *(
            (
                composition(prompt(), {**prompt(), "name": name}),
                f"layer '{name}': this name is reserved for layers of type {owners}",
            )
            for name, owners in {
                "history": "'pydantic_ai.history'",
                "output": "'dify.output'",
                "execution_context": "'dify.execution_context'",
                "llm": "'dify.plugin.llm' or 'greenrun.llm' or 'greenrun.demo_llm'",
                "plugin": "'dify.plugin'",
                "tools": "'dify.plugin.tools' or 'greenrun.mcp'",
                "ask_human": "'dify.ask_human'",
            }.items()
        ),
        (
            composition(prompt(), {**CONTEXT, "name": "plugin"}),
            "layer 'plugin': this name is reserved for layers of type 'dify.plugin'",
        ),
        (
            composition(prompt(), {**HISTORY, "deps": {"llm": "prompt"}}),
            "layer 'history': type 'pydantic_ai.history' has no dependency 'llm'",
        ),
        (
            composition(prompt(), PLUGIN, llm({"plugin": "plugin", "strange": "plugin"})),
            "layer 'llm': type 'dify.plugin.llm' has no dependency 'strange'",
        ),
        (
            composition(prompt(), llm({"plugin": "nowhere"})),
            "layer 'llm': dependency 'plugin' names no layer: 'nowhere'",
        ),
        (
            composition(prompt(), llm({})),
            "layer 'llm': dependency 'execution_context' (or 'plugin') is missing",
        ),
        (
            composition(prompt(), llm({"plugin": "prompt"})),
            "layer 'llm': dependency 'plugin' must be a layer of type 'dify.plugin', but 'prompt' is 'plain.prompt'",
        ),
        (
            composition(prompt(), CONTEXT, llm({"execution_context": "context"})),
            "layer 'llm': config.plugin_id is needed with the dependency 'execution_context'",
        ),
        (
            {**composition(prompt()), "on_exit": {"layers": {"other": "delete"}}},
            "on_exit.layers names no layer: 'other'",
        ),
        (
            {**composition(prompt()), "deferred_tool_results": {"calls": {"call-1": {}}}},
            "deferred_tool_results need a layer of type 'pydantic_ai.history'",
        ),
        (
            {**composition(prompt()), "session_snapshot": snapshot(("prompt", "new"), schema_version=2)},
            "session_snapshot.schema_version 2 is not supported",
        ),
        *(
            (
                {**composition(prompt(), HISTORY), "session_snapshot": snapshot(*entries)},
                "session_snapshot must have the layers of the composition, in the same order",
            )
            for entries in (
                [],
                [("prompt", "suspended")],
                [("history", "suspended"), ("prompt", "suspended")],
                [("prompt", "suspended"), ("other", "suspended")],
                [("prompt", "suspended"), ("history", "suspended"), ("llm", "suspended")],
            )
        ),
        *(
            (
                {**composition(prompt()), "session_snapshot": snapshot(("prompt", state))},
                f"session_snapshot: layer 'prompt' is '{state}' and cannot be entered",
            )
            for state in ("active", "closed")
        ),
    ],
)
def test_a_composition_that_cannot_run_is_refused_in_words(door: Door, body: dict[str, Any], message: str) -> None:
    assert door.refuse(body) == message


@pytest.mark.parametrize(
    "type_id", ["nothing", "", "Plain.Prompt", "dify.runtime", "dify.config", "dify.shell", "dify.drive"]
)
def test_an_unknown_layer_type_is_refused_by_its_name(door: Door, type_id: str) -> None:
    detail = door.refuse(composition(prompt(), {"name": "other", "type": type_id}))

    assert f"Layer type id '{type_id}' is not registered." in detail


@pytest.mark.parametrize(
    ("layers", "beginning"),
    [
        ([prompt(greeting="x")], "layer 'prompt': config is invalid: greeting: "),
        ([prompt(prefix=1)], "layer 'prompt': config is invalid: prefix."),
        ([prompt(), {**HISTORY, "config": {"limit": 1}}], "layer 'history': config is invalid: limit: "),
        ([prompt(), demo_llm(delay_ms=-1)], "layer 'llm': config is invalid: delay_ms: "),
        ([prompt(), demo_llm(api_key=CANARY)], "layer 'llm': config is invalid: api_key: "),
        (
            [prompt(), PLUGIN, llm({"plugin": "plugin"}, credentials={"api_key": [CANARY]})],
            "layer 'llm': config is invalid: credentials.api_key.",
        ),
        (
            [prompt(), PLUGIN, llm({"plugin": "plugin"}, credentials=CANARY)],
            "layer 'llm': config is invalid: credentials: ",
        ),
        (
            [prompt(), PLUGIN, llm({"plugin": "plugin"}, model_settings={"seed": None})],
            "layer 'llm': config is invalid: model_settings.seed: ",
        ),
        (
            [prompt(), PLUGIN, llm({"plugin": "plugin"}, model_settings={"hot": True})],
            "layer 'llm': config is invalid: model_settings.hot: ",
        ),
        (
            [prompt(), {**PLUGIN, "config": json.dumps({"tenant_id": "", "plugin_id": CANARY})}],
            "layer 'plugin': config is invalid: tenant_id: ",
        ),
    ],
)
def test_a_wrong_layer_config_is_refused_with_its_place(door: Door, layers: list[Any], beginning: str) -> None:
    assert door.refuse(composition(*layers)).startswith(beginning)


@pytest.mark.parametrize(
    "state",
    [
        {"messages": CANARY},
        {"messages": [{"kind": "request", "parts": [{"part_kind": "strange", "content": CANARY}]}]},
        {"token": CANARY},
    ],
)
def test_a_wrong_runtime_state_is_refused_without_repeating_it(door: Door, state: dict[str, Any]) -> None:
    body = {
        **composition(HISTORY, prompt()),
        "session_snapshot": {
            "layers": [
                {"name": "history", "lifecycle_state": "suspended", "runtime_state": state},
                ENTRY,
            ]
        },
    }

    assert door.refuse(body).startswith("session_snapshot: layer 'history': runtime_state is invalid: ")


# Credentials


@pytest.mark.parametrize(
    "body",
    [
        {**composition(prompt(), PLUGIN, llm({"plugin": "plugin"})), "unknown": {"api_key": CANARY}},
        composition({"type": "dify.plugin.llm", "config": {"credentials": {"api_key": CANARY}}}),
        composition({"type": "dify.plugin.llm", "config": {"openai": CANARY}}),
        composition({"type": "dify.plugin.llm", "config": json.dumps({"openai": CANARY})}),
        composition({"type": "dify.plugin.llm", "credentials": {"openai": CANARY}}),
        composition({"type": "plain.prompt", "metadata": {"api_key": CANARY, "headers": {"Authorization": CANARY}}}),
        composition(json.dumps({"config": {"openai": CANARY}})),
        {"composition": json.dumps(composition(llm({})))},
        {"metadata": {"api_key": CANARY, "x-api-key": CANARY, "deep": [{"access_token": CANARY}]}},
    ],
)
def test_no_refusal_repeats_a_credential(door: Door, body: dict[str, Any]) -> None:
    detail = door.refuse(body)

    assert isinstance(detail, list)


# Size


def test_a_body_above_the_limit_is_refused(door: Door) -> None:
    body = json.dumps(composition(prompt("x" * MAX_BYTES))).encode()

    assert "larger" in door.refuse(body, status=413)


def test_a_body_above_the_limit_that_comes_in_chunks_is_refused(door: Door) -> None:
    body = json.dumps(composition(prompt("x" * MAX_BYTES))).encode()
    pieces = (body[start : start + 50_000] for start in range(0, len(body), 50_000))

    response = door.request("POST", "/runs", data=pieces, headers={"Content-Type": JSON})

    assert "larger" in error_detail(response, 413)


def test_chunks_beyond_the_limit_are_refused_and_not_silently_cut_off(door: Door) -> None:
    body = json.dumps(composition(prompt())).encode().ljust(MAX_BYTES) + b"{"
    pieces = (body[start : start + 50_000] for start in range(0, len(body), 50_000))

    response = door.request("POST", "/runs", data=pieces, headers={"Content-Type": JSON})

    error_detail(response, 413)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_exactly_the_limit_is_taken(door: Door, chunked: bool) -> None:
    body = json.dumps(composition(prompt(), demo_llm(answer="done"))).encode().ljust(MAX_BYTES)

    response = door.request("POST", "/runs", data=iter([body]) if chunked else body, headers={"Content-Type": JSON})

    assert response.status_code == 202, response.text


def test_the_limit_holds_for_a_cancel_too(door: Door, ended_run: str) -> None:
    response = door.post({"message": "x" * MAX_BYTES}, path=f"/runs/{ended_run}/cancel")

    error_detail(response, 413)


# Unknown runs

ROUTES = [("GET", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/events/sse")]


@pytest.mark.parametrize(("method", "route"), ROUTES)
@pytest.mark.parametrize(
    "run_id",
    [
        UNKNOWN_RUN,
        UNKNOWN_RUN.upper(),
        UNKNOWN_RUN.replace("-", ""),
        f"%7B{UNKNOWN_RUN}%7D",
        "1",
        "run-1",
        "a:b:c",
        "x:record",
        "*",
        "%00",
        "%0d%0aX-Evil:%201",
        "%E2%82%AC",
        "%ff",
        "x" * 3000,
    ],
)
def test_an_unknown_run_is_not_found(door: Door, method: str, route: str, run_id: str) -> None:
    response = door.request(method, f"/runs/{run_id}{route}")

    assert error_detail(response, 404) == "run not found"
    assert response.json()["code"] == "run_not_found"


@pytest.mark.parametrize("run_id", ["a%2Fb", "..%2F..%2Fhealth", f"{UNKNOWN_RUN}%2Frecord"])
def test_an_id_with_a_slash_is_not_found(door: Door, run_id: str) -> None:
    error_detail(door.request("GET", f"/runs/{run_id}"), 404)


# Cursors and limits

BAD_CURSORS = [
    "nope",
    "-1",
    "1-",
    "1-2-3",
    "1.5",
    "$",
    "%2B1",
    "1-1%0A",
    str(GREATEST_PART + 1),
    f"0-{GREATEST_PART + 1}",
]


@pytest.mark.parametrize("route", ["/events", "/events/sse"])
@pytest.mark.parametrize("cursor", BAD_CURSORS)
def test_a_bad_cursor_is_refused(door: Door, ended_run: str, route: str, cursor: str) -> None:
    detail = error_detail(door.request("GET", f"/runs/{ended_run}{route}?after={cursor}"), 422)

    assert places(detail) == {("value_error", "query", "after")}


@pytest.mark.parametrize("cursor", ["nope", "-1", str(GREATEST_PART + 1)])
def test_a_bad_last_event_id_is_refused(door: Door, ended_run: str, cursor: str) -> None:
    response = door.request("GET", f"/runs/{ended_run}/events/sse", headers={"Last-Event-ID": cursor})

    assert places(error_detail(response, 422)) == {("value_error", "header", "Last-Event-ID")}


def test_the_cursor_of_the_query_wins_over_the_last_event_id(door: Door, ended_run: str) -> None:
    response = door.request("GET", f"/runs/{ended_run}/events/sse?after=0", headers={"Last-Event-ID": "nope"})

    assert response.status_code == 200


@pytest.mark.parametrize("cursor", [str(GREATEST_PART), f"{GREATEST_PART}-0", f"{GREATEST_PART}-{GREATEST_PART}"])
def test_there_is_nothing_behind_the_greatest_cursors(door: Door, ended_run: str, cursor: str) -> None:
    page = door.client.page(ended_run, after=cursor)

    assert page == {"run_id": ended_run, "events": [], "next_cursor": cursor}
    assert door.client.follow(ended_run, after=cursor) == []


@pytest.mark.parametrize("route", ["/events", "/events/sse"])
def test_an_empty_cursor_counts_as_absent(door: Door, ended_run: str, route: str) -> None:
    given = door.request("GET", f"/runs/{ended_run}{route}?after=")
    absent = door.request("GET", f"/runs/{ended_run}{route}")

    assert given.status_code == 200
    assert given.text == absent.text
    assert "run_started" in given.text


def test_beside_an_empty_cursor_the_last_event_id_counts(door: Door, ended_run: str) -> None:
    response = door.request(
        "GET", f"/runs/{ended_run}/events/sse?after=", headers={"Last-Event-ID": str(GREATEST_PART)}
    )

    assert (response.status_code, response.content) == (204, b"")


@pytest.mark.parametrize(
    ("limit", "kind"),
    [
        ("0", "greater_than_equal"),
        ("-1", "greater_than_equal"),
        ("501", "less_than_equal"),
        ("abc", "int_parsing"),
        ("1.5", "int_parsing"),
        ("", "int_parsing"),
        ("1" * 1000, "int_parsing"),
    ],
)
@pytest.mark.parametrize("run_id", [None, UNKNOWN_RUN, "no-id"], ids=["a run", "no run", "no id"])
def test_a_bad_limit_is_refused_before_the_run_is_looked_up(
    door: Door, ended_run: str, run_id: str | None, limit: str, kind: str
) -> None:
    detail = error_detail(door.request("GET", f"/runs/{run_id or ended_run}/events?limit={limit}"), 422)

    assert places(detail) == {(kind, "query", "limit")}


@pytest.mark.parametrize("limit", ["1", "500"])
def test_the_smallest_and_the_greatest_limit_are_accepted(door: Door, ended_run: str, limit: str) -> None:
    assert 1 <= len(door.client.page(ended_run, limit=limit)["events"]) <= int(limit)


# Cancels


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", ("json_invalid", "body", 1)),
        (b"[]", ("model_attributes_type", "body")),
        (b'{"reason": 1}', ("string_type", "body", "reason")),
        (b'{"message": ["x"]}', ("string_type", "body", "message")),
        (b'{"why": "x"}', ("extra_forbidden", "body", "why")),
        (b'{"reason": "' + b"x" * 5000 + b'"}', ("string_too_long", "body", "reason")),
    ],
)
def test_a_bad_cancel_is_refused_and_cancels_nothing(door: Door, body: bytes, problem: tuple[Any, ...]) -> None:
    run_id = door.client.create(prompt(), demo_llm(answer="a b c", delay_ms=60_000))

    detail = error_detail(door.post(body, path=f"/runs/{run_id}/cancel"), 422)

    assert places(detail) == {problem}
    assert door.client.status(run_id)["status"] == "running"
    assert door.client.cancel(run_id).status_code == 200


@pytest.mark.parametrize("content_type", [None, JSON, "text/plain"])
def test_a_cancel_may_be_empty(door: Door, content_type: str | None) -> None:
    run_id = door.client.create(prompt(), demo_llm(answer="a b c", delay_ms=60_000))

    response = door.post(b"", content_type=content_type, path=f"/runs/{run_id}/cancel")

    assert response.status_code == 200
    assert response.json() == {"run_id": run_id, "status": "cancelled"}


def test_an_ended_run_cannot_be_cancelled(door: Door, ended_run: str) -> None:
    detail = error_detail(door.client.cancel(ended_run), 409)

    assert detail == "the run has already ended as succeeded"


# Idempotency keys


def test_an_idempotency_key_may_be_repeated(door: Door) -> None:
    body = {**composition(prompt(), demo_llm(answer="done")), "idempotency_key": uuid.uuid4().hex}

    responses = [door.post(body) for _ in range(2)]

    assert [response.status_code for response in responses] == [202, 202]


# Methods and paths


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/runs", {"POST", "OPTIONS"}),
        ("DELETE", "/runs", {"POST", "OPTIONS"}),
        ("GET", "/runs/", {"POST", "OPTIONS"}),
        ("DELETE", f"/runs/{UNKNOWN_RUN}", {"GET", "HEAD", "OPTIONS"}),
        ("GET", f"/runs/{UNKNOWN_RUN}/cancel", {"POST", "OPTIONS"}),
        ("POST", f"/runs/{UNKNOWN_RUN}/events", {"GET", "HEAD", "OPTIONS"}),
        ("PUT", f"/runs/{UNKNOWN_RUN}/events/sse", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/health", {"GET", "HEAD", "OPTIONS"}),
        ("BREW", "/runs", {"POST", "OPTIONS"}),
    ],
)
def test_another_method_is_refused_with_those_allowed(door: Door, method: str, path: str, allowed: set[str]) -> None:
    response = door.request(method, path)

    error_detail(response, 405)
    assert response.json()["code"] == "method_not_allowed"
    assert set(response.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/run", f"/runs/{UNKNOWN_RUN}/nothing", f"/runs/{UNKNOWN_RUN}/events/x"]
)
def test_an_unknown_path_is_not_found(door: Door, path: str) -> None:
    error_detail(door.request("GET", path), 404)


@pytest.mark.parametrize(
    ("method", "path", "location"),
    [
        ("POST", "/runs/", "/runs"),
        ("POST", "/runs/?trace=1&x=%20y", "/runs?trace=1&x=%20y"),
        ("GET", f"/runs/{UNKNOWN_RUN}/", f"/runs/{UNKNOWN_RUN}"),
        ("POST", f"/runs/{UNKNOWN_RUN}/cancel/", f"/runs/{UNKNOWN_RUN}/cancel"),
        ("GET", f"/runs/{UNKNOWN_RUN}/events/?after=1-1&limit=3", f"/runs/{UNKNOWN_RUN}/events?after=1-1&limit=3"),
        ("GET", f"/runs/{UNKNOWN_RUN}/events/sse/?after=1-1", f"/runs/{UNKNOWN_RUN}/events/sse?after=1-1"),
        ("GET", "/runs/a%3Fb/?c=d", "/runs/a%3Fb?c=d"),
        ("GET", "/runs/a%23b/", "/runs/a%23b"),
        ("GET", "/runs/%E2%82%AC/", "/runs/%E2%82%AC"),
        ("GET", "/runs/x%0d%0aX-Evil:1/", "/runs/x%0D%0AX-Evil:1"),
    ],
)
def test_a_trailing_slash_is_a_redirect_that_keeps_the_query(door: Door, method: str, path: str, location: str) -> None:
    response = door.request(method, path)

    assert response.status_code == 308
    assert response.headers["Location"] == location
    assert "X-Evil" not in response.headers


def test_a_run_can_be_made_through_the_redirect(door: Door) -> None:
    body = composition(prompt(), demo_llm(answer="done"))

    response = door.request("POST", "/runs/", json=body, allow_redirects=True)

    assert response.status_code == 202


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS"])
@pytest.mark.parametrize("path", ["/runs", "/runs/", "/runs/x", "/runs/x/", "/runs/x/cancel/", "/runs/x/events/sse/"])
def test_no_redirect_leads_to_another_one(door: Door, method: str, path: str) -> None:
    first = door.request(method, path)

    if first.status_code == 308:
        assert door.request(method, first.headers["Location"]).status_code != 308


# Odd requests that are accepted


@pytest.mark.parametrize(
    "body",
    [
        {**composition(prompt(), demo_llm(answer="done")), "session_snapshot": None, "metadata": {"api_key": CANARY}},
        {**composition(prompt(), {**demo_llm(), "config": json.dumps({"answer": "done"})}), "purpose": "single_step"},
        {
            **composition(prompt(), demo_llm(answer="done")),
            "session_snapshot": snapshot(("prompt", "suspended"), ("llm", "new")),
        },
    ],
    ids=["nulls", "config as a string", "snapshot"],
)
def test_a_request_that_only_looks_odd_is_accepted_and_runs(door: Door, body: dict[str, Any]) -> None:
    response = door.post(body)

    assert response.status_code == 202, response.text
    assert door.client.finish(response.json()["run_id"])["data"]["output"] == "done"


def test_a_state_nested_as_deeply_as_a_body_may_be_is_returned(door: Door) -> None:
    nested: Any = "bottom"
    for _ in range(180):
        nested = [nested]
    call = {"part_kind": "tool-call", "tool_name": "lookup", "tool_call_id": "call-1", "args": {"deep": nested}}
    returned = {"part_kind": "tool-return", "tool_name": "lookup", "tool_call_id": "call-1", "content": "found"}
    messages = [
        {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": "Hello"}]},
        {"kind": "response", "parts": [call]},
        {"kind": "request", "parts": [returned]},
    ]
    body = {
        **composition(HISTORY, prompt(), demo_llm(answer="done")),
        "session_snapshot": {
            "layers": [
                {"name": "history", "lifecycle_state": "suspended", "runtime_state": {"messages": messages}},
                ENTRY,
                {**ENTRY, "name": "llm"},
            ]
        },
    }

    end = door.client.finish(door.post(body).json()["run_id"])

    assert end["type"] == "run_succeeded"
    kept = end["data"]["session_snapshot"]["layers"][0]["runtime_state"]["messages"]
    assert kept[1]["parts"][0]["args"] == {"deep": nested}


def test_no_request_body_or_credential_is_in_the_log(start_server: StartServer) -> None:
    server = start_server(redis_prefix="refusals-log")
    client = RunClient(server.url)

    client.post(composition(prompt(), PLUGIN, llm({"plugin": "plugin"}, credentials={"api_key": [CANARY]})))
    client.post({**composition(prompt()), "unknown": CANARY})
    client.session.post(f"{server.url}/runs", data=f"{{{CANARY}", headers={"Content-Type": JSON}, timeout=30)

    assert server.get("/health").status_code == 200
    assert CANARY not in server.log


# Bearer tokens


@pytest.fixture(scope="module")
def locked(redis_server: RedisServer) -> Iterator[GunicornServer]:
    """A server with two tokens."""
    env = environment(
        redis_server.url, "http://127.0.0.1:9", redis_prefix="locked", api_token="first-token, second-token"
    )
    with running_server(env) as server:
        yield server


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong-token",
        "Bearer first-token,second-token",
        "Bearer first-token, second-token",
        "Bearer first-toke",
        "Bearer FIRST-TOKEN",
        "first-token",
        "Basic first-token",
        "Token first-token",
        "Bearer: first-token",
        "Bearer f\xefrst-token",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/runs"), *((method, f"/runs/{UNKNOWN_RUN}{route}") for method, route in ROUTES)]
)
def test_without_a_token_every_run_route_is_closed(
    locked: GunicornServer, method: str, path: str, header: str | None
) -> None:
    headers = {"Authorization": header.encode("latin-1")} if header is not None else {}

    response = locked.session.request(method, locked.url + path, headers=headers, timeout=30)

    assert error_detail(response, 401) == "a valid bearer token is required"
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer first-token", "bearer second-token", "BEARER  first-token"])
def test_each_token_opens_runs(locked: GunicornServer, header: str) -> None:
    response = locked.get(f"/runs/{UNKNOWN_RUN}", headers={"Authorization": header})

    error_detail(response, 404)


def test_a_run_can_be_made_and_followed_with_a_token(locked: GunicornServer) -> None:
    client = RunClient(locked.url, token="second-token")

    run_id = client.create(prompt(), demo_llm(answer="done"))

    assert client.finish(run_id)["data"]["output"] == "done"


def test_without_a_token_a_body_is_not_even_checked(locked: GunicornServer) -> None:
    response = locked.post("/runs", data="nope", headers={"Content-Type": JSON})

    error_detail(response, 401)


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_and_readiness_need_no_token(locked: GunicornServer, path: str) -> None:
    assert locked.get(path).status_code == 200


def test_a_server_without_tokens_is_open_and_warns(start_server: StartServer) -> None:
    server = start_server(redis_prefix="open-door")

    assert server.get(f"/runs/{UNKNOWN_RUN}").status_code == 404
    wait_until(lambda: "DIFY_AGENT_API_TOKEN is not set" in server.log)
