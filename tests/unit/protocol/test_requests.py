"""The bodies that the run API takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from runtime.protocol.requests import CancelRunRequest, CreateRunRequest, ExitIntent

LAYER = {"name": "prompt", "type": "plain.prompt"}
ENTRY = {"name": "prompt", "lifecycle_state": "suspended", "runtime_state": {}}


def parsed(**rest: Any) -> CreateRunRequest:
    return CreateRunRequest.model_validate({"composition": {"layers": [LAYER]}, **rest})


def parsed_config(config: Any) -> dict[str, Any] | None:
    body = {"composition": {"layers": [{**LAYER, "config": config}]}}
    return CreateRunRequest.model_validate(body).composition.layers[0].config


def test_a_composition_is_all_that_a_request_needs() -> None:
    request = parsed()

    assert request.composition.schema_version == 1
    assert request.composition.layers[0].deps == {}
    assert request.session_snapshot is None
    assert request.on_exit.default is ExitIntent.SUSPEND
    assert request.deferred_tool_results is None
    assert request.idempotency_key is None
    assert request.purpose is None


def test_a_full_request_is_read() -> None:
    request = parsed(
        session_snapshot={"schema_version": 1, "layers": [ENTRY]},
        on_exit={"default": "delete", "layers": {"prompt": "suspend"}},
        deferred_tool_results={"calls": {"call-1": {"status": "submitted"}}, "metadata": {"call-1": {"a": 1}}},
        idempotency_key="key-1",
        metadata={"anything": [1]},
        purpose="workflow_node",
        execution_context={"tenant_id": "t", "invoke_from": "workflow_run", "trace_id": None},
    )

    assert request.on_exit.layers == {"prompt": ExitIntent.SUSPEND}
    assert request.deferred_tool_results is not None
    assert request.deferred_tool_results.calls == {"call-1": {"status": "submitted"}}


@pytest.mark.parametrize(
    "key",
    [
        "session_snapshot",
        "deferred_tool_results",
        "idempotency_key",
        "purpose",
        "execution_context",
    ],
)
def test_what_may_be_absent_may_be_null(key: str) -> None:
    assert getattr(parsed(**{key: None}), key) is None


@pytest.mark.parametrize("key", ["on_exit", "metadata", "composition"])
def test_what_has_a_default_of_its_own_may_not_be_null(key: str) -> None:
    with pytest.raises(ValidationError):
        parsed(**{key: None})


@pytest.mark.parametrize(
    ("config", "read"),
    [
        (None, None),
        ({}, {}),
        ({"user": "Hello"}, {"user": "Hello"}),
        ("{}", {}),
        ("null", None),
        (json.dumps({"user": "Hello"}), {"user": "Hello"}),
        (' {"user": ["a", "b"]} ', {"user": ["a", "b"]}),
    ],
)
def test_a_config_is_an_object_or_the_json_of_one(config: Any, read: dict[str, Any] | None) -> None:
    assert parsed_config(config) == read


@pytest.mark.parametrize(
    "config",
    [
        "",
        "nope",
        "[]",
        "1",
        '"{}"',
        "{",
        '{"top_p": NaN}',
        '{"top_p": Infinity}',
        '{"top_p": 1e999}',
        '{"user": "\\ud800"}',
        '{"seed": ' + "1" * 5000 + "}",
        '{"deep": ' + "[" * 300 + "]" * 300 + "}",
        "[" * 100_000,
        [],
        [{}],
        1,
        True,
    ],
)
def test_any_other_config_is_refused(config: Any) -> None:
    with pytest.raises(ValidationError):
        parsed_config(config)


def test_the_config_of_a_layer_is_not_shown() -> None:
    request = parsed(composition={"layers": [{**LAYER, "config": {"key": "canary"}, "metadata": {"key": "canary"}}]})

    assert "canary" not in repr(request)


def test_a_cancel_may_say_nothing() -> None:
    assert CancelRunRequest.model_validate({}) == CancelRunRequest(reason=None, message=None)


@pytest.mark.parametrize("body", [{"reason": 1}, {"message": ["x"]}, {"why": "x"}, {"reason": "x" * 5000}])
def test_a_cancel_is_closed_and_bounded(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CancelRunRequest.model_validate(body)
