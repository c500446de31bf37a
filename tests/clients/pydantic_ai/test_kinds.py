"""Events of every kind, even those that no run writes today, as Dify's clients of each date read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter
from pydantic_ai.messages import AgentStreamEvent, ModelMessagesTypeAdapter

from runtime.protocol.client_models import clients_with
from runtime.protocol.dialects import RULES, Dialect
from runtime.protocol.events import EventEncoder
from tests.clients.pydantic_ai.corpus import EVENTS, MESSAGES
from tests.clients.pydantic_ai.environments import VERSIONS, Libraries

CURRENT_EVENTS: list[dict[str, Any]] = [
    TypeAdapter(AgentStreamEvent).dump_python(event, mode="json") for event in EVENTS
]
CURRENT_MESSAGES: list[dict[str, Any]] = ModelMessagesTypeAdapter.dump_python(MESSAGES, mode="json")
DATED = [dialect for dialect in Dialect if dialect is not Dialect.CURRENT]


def unread(libraries: Libraries, version: str, events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What the clients with this version cannot read, and why."""
    problems = libraries.ask(version, "events", events)
    assert len(problems) == len(events) > 0
    return [(event, problem) for event, problem in zip(events, problems, strict=True) if problem]


def of_the_future(value: Any, *, is_free: bool = False) -> Any:
    """The value with a key and an item of unknown kinds wherever Pydantic AI defines the keys."""
    if isinstance(value, list):
        return [of_the_future(item, is_free=is_free) for item in value]
    if not isinstance(value, dict):
        return value
    free = {"args", "args_delta", "metadata", "provider_details", "vendor_metadata"}
    aged = {key: of_the_future(item, is_free=is_free or key in free) for key, item in value.items()}
    return aged if is_free else {**aged, "brand_new": {"kind": "brand-new"}}


@pytest.mark.parametrize("dialect", DATED)
def test_every_client_of_a_date_reads_every_event_written_for_it(libraries: Libraries, dialect: Dialect) -> None:
    encoder = EventEncoder("run-1", dialect)
    encoded = [encoder.agent_event(event) for event in EVENTS]

    written = [json.loads(event.payload)["data"] for event in encoded if event is not None]

    assert {"text", "thinking", "tool-call", "file"} <= {one["part"]["part_kind"] for one in written if "part" in one}
    for version in RULES[dialect].clients:
        assert unread(libraries, version, written) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_of_each_version_reads_what_is_written_for_it_and_not_what_is_current(
    libraries: Libraries, version: str
) -> None:
    known = [clients_with((version,)).event(event) for event in CURRENT_EVENTS]

    assert unread(libraries, version, [event for event in known if event is not None]) == []
    assert len(unread(libraries, version, CURRENT_EVENTS)) > len(CURRENT_EVENTS) / 2


@pytest.mark.parametrize("version", VERSIONS)
def test_keys_that_a_later_pydantic_ai_brings_break_no_client(libraries: Libraries, version: str) -> None:
    clients = clients_with((version,))
    future = [of_the_future(event) for event in CURRENT_EVENTS]

    known = [clients.event(event) for event in future]

    assert unread(libraries, version, [event for event in known if event is not None]) == []
    assert [event is None for event in known] == [clients.event(event) is None for event in CURRENT_EVENTS]


@pytest.mark.parametrize("version", VERSIONS)
def test_free_form_values_reach_a_client_unchanged(version: str) -> None:
    known = [clients_with((version,)).event(event) for event in CURRENT_EVENTS]

    for event, before in zip(known, CURRENT_EVENTS, strict=True):
        for key in ("args", "metadata", "provider_details"):
            if event is not None and key in event.get("part", {}):
                assert event["part"][key] == before["part"][key]
        if event is not None and event.get("part", {}).get("part_kind") in ("tool-return", "builtin-tool-return"):
            assert event["part"]["content"] == before["part"]["content"]


def test_no_form_of_a_tool_result_is_read_by_both_clients_of_may(libraries: Libraries) -> None:
    [result, *_] = [event for event in CURRENT_EVENTS if event["event_kind"] == "function_tool_result"]
    under_part = clients_with(("1.94.0",)).event(result)
    assert under_part is not None
    under_result = {**under_part, "result": under_part["part"]}
    under_both = dict(under_result)
    del under_result["part"]

    forms = [under_part, under_result, under_both]

    assert [not problem for problem in libraries.ask("1.85.1", "events", forms)] == [False, True, False]
    assert [not problem for problem in libraries.ask("1.94.0", "events", forms)] == [True, False, False]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_of_each_version_reads_the_messages_written_for_it_and_not_what_is_current(
    libraries: Libraries, version: str
) -> None:
    clients = clients_with((version,))
    known = [clients.messages(CURRENT_MESSAGES), clients.messages(of_the_future(CURRENT_MESSAGES))]

    current, *written = libraries.ask(version, "read_histories", [CURRENT_MESSAGES, *known])

    assert current["problems"]
    for one in written:
        assert one["problems"] == []
        assert [len(parts) for parts in one["messages"]] == [
            len(MESSAGES[0].parts),
            len(MESSAGES[1].parts) - (version != "2.31.0"),  # which lacks the part with speech
            1,
        ]
