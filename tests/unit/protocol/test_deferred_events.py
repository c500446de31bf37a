"""The terminal event and the agent's events of a run that ends with a deferred tool call, in each dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic_ai.messages import (
    DeferredToolRequestsEvent,
    DeferredToolResultsEvent,
    FunctionToolCallEvent,
    ToolCallPart,
)
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults

from runtime.protocol.dialects import RULES, Dialect
from runtime.protocol.events import EventEncoder, RunEnd
from runtime.protocol.records import RunStatus

CALL = {"tool_call_id": "call-1", "tool_name": "ask_human", "args": {"question": "Go?"}, "metadata": {}}
SNAPSHOT: dict[str, Any] = {"schema_version": 1, "layers": []}
PART = ToolCallPart("ask_human", {"question": "Go?"}, "call-1")
DATED = [dialect for dialect in Dialect if dialect is not Dialect.CURRENT]


def test_the_dialects_that_know_a_deferred_call_are_those_from_june() -> None:
    assert [dialect for dialect in Dialect if RULES[dialect].deferred_tool_call] == [
        Dialect.JUNE_16,
        Dialect.JULY_17,
        Dialect.AUGUST_10,
        Dialect.CURRENT,
    ]


@pytest.mark.parametrize(
    ("dialect", "keys"),
    [
        (Dialect.JUNE_16, {"deferred_tool_call", "session_snapshot"}),
        (Dialect.JULY_17, {"deferred_tool_call", "session_snapshot", "usage"}),
        (Dialect.AUGUST_10, {"deferred_tool_call", "session_snapshot", "usage"}),
        (Dialect.CURRENT, {"deferred_tool_call", "session_snapshot", "usage"}),
    ],
)
def test_a_deferred_call_replaces_the_output(dialect: Dialect, keys: set[str]) -> None:
    end = RunEnd.deferred(call=CALL, snapshot=SNAPSHOT, usage={"total_tokens": 3})

    event = json.loads(EventEncoder("run-1", dialect).ended(end).payload)

    assert end.status is RunStatus.SUCCEEDED
    assert event["type"] == "run_succeeded"
    assert set(event["data"]) == keys
    assert event["data"]["deferred_tool_call"] == CALL


@pytest.mark.parametrize("dialect", DATED)
def test_a_dated_dialect_has_only_the_call_itself(dialect: Dialect) -> None:
    encoder = EventEncoder("run-1", dialect)

    assert encoder.agent_event(FunctionToolCallEvent(PART)) is not None
    assert encoder.agent_event(DeferredToolRequestsEvent(DeferredToolRequests(calls=[PART]))) is None
    assert encoder.agent_event(DeferredToolResultsEvent(DeferredToolResults(calls={"call-1": {}}))) is None


def test_the_current_dialect_has_the_deferred_requests() -> None:
    event = EventEncoder("run-1", Dialect.CURRENT).agent_event(
        DeferredToolRequestsEvent(DeferredToolRequests(calls=[PART]))
    )

    assert event is not None
    data = json.loads(event.payload)["data"]
    assert data["event_kind"] == "deferred_tool_requests"
    assert [call["tool_call_id"] for call in data["requests"]["calls"]] == ["call-1"]
