"""The allow-lists of Dify's clients. What their libraries themselves say of it is in ``tests/clients/pydantic_ai/``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.protocol.client_models import SCHEMAS, clients_with
from runtime.protocol.dialects import RULES, Dialect
from runtime.protocol.events import EventEncoder, RunEnd
from runtime.protocol.json_shapes import ShapeCompiler

VERSIONS = ["1.85.1", "1.94.0", "1.107.0", "2.31.0"]
EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS)


def part_start(part: dict[str, Any]) -> dict[str, Any]:
    return {"event_kind": "part_start", "index": 0, "part": part, "canonical_system": None}


def tool_return(**rest: Any) -> dict[str, Any]:
    return {"part_kind": "tool-return", "tool_name": "f", "tool_call_id": "1", "content": "x", **rest}


def request(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "request", "parts": list(parts)}


def test_every_version_that_a_dialect_names_has_a_schema() -> None:
    assert sorted(path.stem for path in SCHEMAS.iterdir()) == sorted(VERSIONS)
    assert {version for rules in RULES.values() for version in rules.clients} <= set(VERSIONS)


@EVERY_VERSION
def test_every_definition_of_a_schema_can_be_read_by(version: str) -> None:
    definitions = json.loads((SCHEMAS / f"{version}.json").read_text())["$defs"]

    for definition in definitions.values():
        assert callable(ShapeCompiler(definitions).shape(definition))


@EVERY_VERSION
def test_a_new_key_is_left_out_at_every_depth(version: str) -> None:
    part = {"part_kind": "text", "content": "a", "citations": None, "provider_details": {"citations": 1}}

    known = clients_with((version,)).event(part_start(part))

    assert known == {
        "event_kind": "part_start",
        "index": 0,
        "part": {"part_kind": "text", "content": "a", "provider_details": {"citations": 1}},
    }


@EVERY_VERSION
def test_a_new_kind_is_left_out_whole(version: str) -> None:
    clients = clients_with((version,))

    assert clients.event({"event_kind": "new_kind"}) is None
    assert clients.event(part_start({"part_kind": "new-kind", "content": "a"})) is None
    assert clients.event({"event_kind": "part_delta", "index": 0, "delta": {"part_delta_kind": "new"}}) is None
    assert "new" not in clients.known_of_delta


@EVERY_VERSION
def test_an_event_that_lost_what_a_client_needs_is_left_out_whole(version: str) -> None:
    assert clients_with((version,)).event(part_start({"part_kind": "text", "text": "content had another name"})) is None


@EVERY_VERSION
def test_a_neighbour_of_a_new_kind_is_not_named(version: str) -> None:
    event = {**part_start({"part_kind": "text", "content": "a"}), "previous_part_kind": "new-kind"}

    assert "previous_part_kind" not in (clients_with((version,)).event(event) or {})


@EVERY_VERSION
def test_an_unknown_outcome_counts_as_a_failure(version: str) -> None:
    event = {"event_kind": "output_tool_result", "part": tool_return(outcome="evaporated")}

    known = clients_with((version,)).event(event)

    if version == "1.85.1":  # it knows no such event
        assert known is None
    else:
        assert known is not None
        assert known["part"]["outcome"] == "failed"


@EVERY_VERSION
def test_a_tool_of_a_kind_of_its_own_is_an_ordinary_tool(version: str) -> None:
    part = {"part_kind": "tool-call", "tool_name": "search_tools", "args": {"new": 1}, "tool_kind": "tool-search"}

    known = clients_with((version,)).event(part_start(part))

    assert known is not None
    assert known["part"].get("tool_kind") is None
    assert known["part"]["args"] == {"new": 1}


def test_for_clients_of_two_versions_only_what_both_read_is_written() -> None:
    result = {"event_kind": "function_tool_result", "part": tool_return()}

    assert clients_with(("1.94.0",)).event(result) is not None
    assert clients_with(("1.85.1", "1.94.0")).event(result) is None


@EVERY_VERSION
def test_a_retried_tool_result_is_a_retry_prompt_in_the_messages(version: str) -> None:
    refused = tool_return(content={"a": 1}, outcome="retried", retry={"cause": "model_retry"})
    feedback = {"part_kind": "retry-feedback", "content": "again", "retry": {"cause": "model_retry"}}

    [message] = clients_with((version,)).messages([request(refused, feedback)])

    assert message["parts"] == [
        {"part_kind": "retry-prompt", "tool_name": "f", "tool_call_id": "1", "content": '{"a": 1}'},
        {"part_kind": "retry-prompt", "content": "again"},
    ]


@EVERY_VERSION
def test_a_message_of_which_nothing_is_left_is_left_out(version: str) -> None:
    kept = request({"part_kind": "user-prompt", "content": "hello"})

    assert clients_with((version,)).messages([request({"part_kind": "new-kind"}), kept]) == [kept]


@pytest.mark.parametrize("dialect", [dialect for dialect in Dialect if RULES[dialect].clients])
def test_only_the_messages_of_a_history_are_written_for_the_clients(dialect: Dialect) -> None:
    message = {**request({"part_kind": "user-prompt", "content": "hello"}), "new": 1}
    layers = [
        {"name": name, "lifecycle_state": "suspended", "runtime_state": state}
        for name, state in {
            "history": {"messages": [message], "more": 1},
            "other": {"messages": [message]},
            "empty": {},
        }.items()
    ]
    snapshot = {"schema_version": 1, "layers": layers}

    payload = EventEncoder("run-1", dialect).ended(RunEnd.succeeded(output=1, snapshot=snapshot, usage=None)).payload

    assert b'"runtime_state":{"messages":[{"kind":"request","parts":[{"part_kind":"user-prompt"' in payload
    assert payload.count(b'"new":1') == 1
    assert b'"more":1' in payload
    assert layers[0]["runtime_state"] == {"messages": [message], "more": 1}
