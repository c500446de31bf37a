"""The events of a run as they are stored, in every dialect."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_ai.messages import (
    AgentStreamEvent,
    EnqueuedMessagesEvent,
    FinalResultEvent,
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ModelRequest,
    OutputToolCallEvent,
    OutputToolResultEvent,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
    ToolReturnPart,
)

from runtime.protocol.dialects import Dialect
from runtime.protocol.events import CANCELLED_REASON, Event, EventEncoder, EventType, RunEnd

MAY_14, MAY_27, JUNE_16 = Dialect.MAY_14, Dialect.MAY_27, Dialect.JUNE_16
JULY_17, AUGUST_10, CURRENT = Dialect.JULY_17, Dialect.AUGUST_10, Dialect.CURRENT
DATED = [MAY_14, MAY_27, JUNE_16, JULY_17, AUGUST_10]
WITH_DELTA = [JULY_17, AUGUST_10, CURRENT]
WITH_OUTPUT_TOOLS = [AUGUST_10, CURRENT]
WITH_ERROR_TYPE = [AUGUST_10, CURRENT]
WITH_TOOL_RESULTS = [MAY_27, JUNE_16, JULY_17, AUGUST_10]
WITHOUT_DELTA = [MAY_14, MAY_27, JUNE_16]

ENVELOPE = {"run_id", "type", "data", "created_at"}
SNAPSHOT = {"schema_version": 1, "layers": []}
TOKENS = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
USAGE = {**TOKENS, "total_price": "0.1", "currency": "USD", "time_to_generate": None}
MADE_AT = datetime(2026, 8, 10, 12, 0, tzinfo=UTC)

COMMON_EVENTS: list[AgentStreamEvent] = [
    PartStartEvent(index=0, part=TextPart("a")),
    PartStartEvent(index=0, part=ThinkingPart("a")),
    PartStartEvent(index=0, part=ToolCallPart("lookup", {"q": 1}, "call-1")),
    PartDeltaEvent(index=0, delta=TextPartDelta("b")),
    PartDeltaEvent(index=0, delta=ThinkingPartDelta(content_delta="b")),
    PartDeltaEvent(index=0, delta=ToolCallPartDelta(args_delta="{")),
    PartEndEvent(index=0, part=TextPart("ab")),
    FinalResultEvent(tool_name=None, tool_call_id=None),
    FunctionToolCallEvent(ToolCallPart("lookup", {"q": 1}, "call-1")),
]
OUTPUT_EVENTS: list[AgentStreamEvent] = [
    OutputToolCallEvent(ToolCallPart("final_output", {"a": 1}, "call-1")),
    OutputToolResultEvent(ToolReturnPart("final_output", "ok", "call-1")),
]
NEWER_EVENT: AgentStreamEvent = EnqueuedMessagesEvent(enqueue_id="e1", messages=(ModelRequest(parts=[]),))


def by_kind(event: AgentStreamEvent) -> str:
    return event.event_kind


def tool_result(content: Any = "found", **part: Any) -> FunctionToolResultEvent:
    return FunctionToolResultEvent(
        ToolReturnPart(tool_name="lookup", content=content, tool_call_id="call-1", timestamp=MADE_AT, **part)
    )


def decoded(event: Event | None) -> dict[str, Any]:
    assert event is not None
    value: dict[str, Any] = json.loads(event.payload)
    assert value["type"] == event.type
    return value


def agent_event(event: AgentStreamEvent, dialect: Dialect) -> dict[str, Any]:
    return decoded(EventEncoder("run-1", dialect).agent_event(event))


def ended(end: RunEnd, dialect: Dialect) -> dict[str, Any]:
    return decoded(EventEncoder("run-1", dialect).ended(end))


# Envelopes


@pytest.mark.parametrize("dialect", Dialect)
def test_a_started_event_has_exactly_the_keys_of_an_envelope_and_no_data(dialect: Dialect) -> None:
    event = decoded(EventEncoder("run-1", dialect).started())

    assert set(event) == ENVELOPE
    assert (event["run_id"], event["type"], event["data"]) == ("run-1", "run_started", {})
    assert datetime.fromisoformat(event["created_at"]).utcoffset() is not None


@pytest.mark.parametrize("event", COMMON_EVENTS, ids=by_kind)
@pytest.mark.parametrize("dialect", WITHOUT_DELTA)
def test_before_july_an_agent_event_has_no_key_beside_those_of_an_envelope(
    event: AgentStreamEvent, dialect: Dialect
) -> None:
    assert set(agent_event(event, dialect)) == ENVELOPE


@pytest.mark.parametrize("event", [*COMMON_EVENTS, tool_result()], ids=by_kind)
@pytest.mark.parametrize("dialect", WITH_DELTA)
def test_since_july_every_agent_event_has_a_message_delta(event: AgentStreamEvent, dialect: Dialect) -> None:
    assert set(agent_event(event, dialect)) == ENVELOPE | {"agent_message_delta"}


@pytest.mark.parametrize(
    ("event", "delta"),
    [
        (PartStartEvent(index=0, part=TextPart("Grüße „\u2028”")), "Grüße „\u2028”"),
        (PartStartEvent(index=0, part=TextPart("")), ""),
        (PartDeltaEvent(index=0, delta=TextPartDelta("word ")), "word "),
        (PartStartEvent(index=0, part=ThinkingPart("hm")), None),
        (PartDeltaEvent(index=0, delta=ThinkingPartDelta(content_delta="hm")), None),
        (PartDeltaEvent(index=0, delta=ToolCallPartDelta(args_delta="{}")), None),
        (PartEndEvent(index=0, part=TextPart("all of it")), None),
        (FinalResultEvent(tool_name=None, tool_call_id=None), None),
        (tool_result(), None),
    ],
)
def test_the_message_delta_is_the_text_of_a_text_start_or_delta_and_otherwise_null(
    event: AgentStreamEvent, delta: str | None
) -> None:
    assert agent_event(event, CURRENT)["agent_message_delta"] == delta


@pytest.mark.parametrize("dialect", Dialect)
def test_a_payload_is_one_line_for_every_reader(dialect: Dialect) -> None:
    text = "a\u0085b\u2028c\u2029d\r\ne"
    encoder = EventEncoder("run-1", dialect)

    events = [
        encoder.agent_event(PartStartEvent(index=0, part=TextPart(text))),
        encoder.ended(RunEnd.failed(text)),
        encoder.ended(RunEnd.succeeded(output=text, snapshot=SNAPSHOT, usage=None)),
    ]

    started, failed, succeeded = [decoded(event)["data"] for event in events]
    assert all(event is not None and len(event.payload.decode().splitlines()) == 1 for event in events)
    assert (started["part"]["content"], failed["error"], succeeded["output"]) == (text, text, text)


# Kinds


@pytest.mark.parametrize("event", COMMON_EVENTS, ids=by_kind)
@pytest.mark.parametrize("dialect", Dialect)
def test_the_common_kinds_are_sent_in_every_dialect(event: AgentStreamEvent, dialect: Dialect) -> None:
    assert agent_event(event, dialect)["data"]["event_kind"] == event.event_kind


@pytest.mark.parametrize("event", OUTPUT_EVENTS, ids=by_kind)
def test_output_tools_are_sent_since_august(event: AgentStreamEvent) -> None:
    sent = {dialect for dialect in Dialect if EventEncoder("run-1", dialect).agent_event(event) is not None}

    assert sent == {AUGUST_10, CURRENT}


def test_kinds_newer_than_the_dated_dialects_are_only_in_the_current_one() -> None:
    sent = {dialect for dialect in Dialect if EventEncoder("run-1", dialect).agent_event(NEWER_EVENT) is not None}

    assert sent == {CURRENT}


# Tool results


@pytest.mark.parametrize("dialect", [*WITH_TOOL_RESULTS, CURRENT])
def test_a_tool_result_is_under_part(dialect: Dialect) -> None:
    data = agent_event(tool_result({"rows": [1]}), dialect)["data"]

    assert "result" not in data
    assert data["part"]["content"] == {"rows": [1]}
    assert data["part"]["tool_name"] == "lookup"
    assert data["part"]["tool_call_id"] == "call-1"
    assert data["part"]["part_kind"] == "tool-return"


def test_a_tool_result_is_left_out_in_may_whose_two_clients_know_it_under_different_keys() -> None:
    assert EventEncoder("run-1", MAY_14).agent_event(tool_result()) is None


@pytest.mark.parametrize("dialect", WITH_OUTPUT_TOOLS)
def test_an_output_tool_result_is_under_part(dialect: Dialect) -> None:
    data = agent_event(OUTPUT_EVENTS[1], dialect)["data"]

    assert data["part"]["content"] == "ok"
    assert "result" not in data


@pytest.mark.parametrize("dialect", WITH_TOOL_RESULTS)
@pytest.mark.parametrize(
    ("content", "written"),
    [("try again", "try again"), ([{"type": "missing", "loc": ["q"]}], '[{"type": "missing", "loc": ["q"]}]')],
)
def test_a_retried_tool_result_is_a_retry_prompt_for_dated_readers(
    dialect: Dialect, content: Any, written: str
) -> None:
    data = agent_event(tool_result(content, outcome="retried"), dialect)["data"]

    assert data["part"] == {
        "tool_name": "lookup",
        "tool_call_id": "call-1",
        "timestamp": "2026-08-10T12:00:00Z",
        "content": written,
        "part_kind": "retry-prompt",
    }


def test_a_retried_tool_result_stays_a_tool_result_under_current() -> None:
    part = agent_event(tool_result("try again", outcome="retried"), CURRENT)["data"]["part"]

    assert (part["part_kind"], part["outcome"], part["content"]) == ("tool-return", "retried", "try again")


@pytest.mark.parametrize("dialect", WITH_TOOL_RESULTS)
@pytest.mark.parametrize(
    ("outcome", "written"),
    [("success", "success"), ("failed", "failed"), ("denied", "denied"), ("interrupted", "failed")],
)
def test_dated_readers_meet_only_outcomes_that_they_know(dialect: Dialect, outcome: str, written: str) -> None:
    data = agent_event(tool_result(outcome=outcome), dialect)["data"]

    assert data["part"]["outcome"] == written


def test_current_readers_meet_every_outcome() -> None:
    assert agent_event(tool_result(outcome="interrupted"), CURRENT)["data"]["part"]["outcome"] == "interrupted"


@pytest.mark.parametrize("dialect", [*WITH_TOOL_RESULTS, CURRENT])
def test_content_for_the_model_beside_a_tool_result_is_kept(dialect: Dialect) -> None:
    event = replace(tool_result(), content="look at this")

    assert agent_event(event, dialect)["data"]["content"] == "look at this"


# Ends


@pytest.mark.parametrize(
    ("dialect", "keys"),
    [
        (MAY_14, {"output", "session_snapshot"}),
        (MAY_27, {"output", "session_snapshot"}),
        (JUNE_16, {"output", "session_snapshot"}),
        (JULY_17, {"output", "session_snapshot", "usage"}),
        (AUGUST_10, {"output", "session_snapshot", "usage"}),
        (CURRENT, {"output", "session_snapshot", "usage"}),
    ],
)
def test_a_success_has_exactly_the_keys_of_its_dialect(dialect: Dialect, keys: set[str]) -> None:
    event = ended(RunEnd.succeeded(output="done", snapshot=SNAPSHOT, usage=USAGE), dialect)

    assert set(event) == ENVELOPE
    assert event["type"] == "run_succeeded"
    assert set(event["data"]) == keys
    assert event["data"]["session_snapshot"] == SNAPSHOT


@pytest.mark.parametrize(("dialect", "usage"), [(JULY_17, TOKENS), (AUGUST_10, USAGE), (CURRENT, USAGE)])
def test_usage_has_the_keys_that_its_dialect_knows(dialect: Dialect, usage: dict[str, Any]) -> None:
    data = ended(RunEnd.succeeded(output="done", snapshot=SNAPSHOT, usage=USAGE), dialect)["data"]

    assert data["usage"] == usage


@pytest.mark.parametrize("dialect", Dialect)
def test_an_unknown_usage_is_left_out(dialect: Dialect) -> None:
    data = ended(RunEnd.succeeded(output="done", snapshot=SNAPSHOT, usage=None), dialect)["data"]

    assert set(data) == {"output", "session_snapshot"}


@pytest.mark.parametrize("output", [None, "", "Grüße", 0, False, [], {"answer": [1, None]}])
def test_an_output_is_any_json_and_null_is_kept(output: object) -> None:
    data = ended(RunEnd.succeeded(output=output, snapshot=SNAPSHOT, usage=None), JUNE_16)["data"]

    assert data["output"] == output


def test_one_end_can_be_written_in_every_dialect() -> None:
    end = RunEnd.succeeded(output="done", snapshot=SNAPSHOT, usage=USAGE)

    keys = [set(ended(end, dialect)["data"]) for dialect in (MAY_14, CURRENT, MAY_14, CURRENT)]

    assert keys[0] == keys[2] != keys[1] == keys[3]


@pytest.mark.parametrize(
    ("end", "old", "new"),
    [
        (RunEnd.failed("broken"), {"error"}, {"error"}),
        (RunEnd.failed("broken", reason="timeout"), {"error", "reason"}, {"error", "reason"}),
        (RunEnd.failed("broken", error_type="limit"), {"error"}, {"error", "error_type"}),
        (
            RunEnd.failed("broken", reason="timeout", error_type="limit"),
            {"error", "reason"},
            {"error", "reason", "error_type"},
        ),
    ],
    ids=["bare", "reason", "error_type", "both"],
)
@pytest.mark.parametrize("dialect", Dialect)
def test_a_failure_has_exactly_the_keys_of_its_dialect(
    end: RunEnd, old: set[str], new: set[str], dialect: Dialect
) -> None:
    event = ended(end, dialect)

    assert set(event) == ENVELOPE
    assert event["type"] == "run_failed"
    assert set(event["data"]) == (new if dialect in WITH_ERROR_TYPE else old)
    assert event["data"]["error"] == "broken"


@pytest.mark.parametrize("dialect", Dialect)
def test_a_failure_always_says_something(dialect: Dialect) -> None:
    assert ended(RunEnd.failed(""), dialect)["data"]["error"] == "run failed"


@pytest.mark.parametrize(
    ("end", "data"),
    [
        (RunEnd.cancelled(), {}),
        (RunEnd.cancelled(reason="user"), {"reason": "user"}),
        (RunEnd.cancelled(message="stop it"), {"message": "stop it"}),
        (RunEnd.cancelled(reason="user", message="stop it"), {"reason": "user", "message": "stop it"}),
    ],
    ids=["bare", "reason", "message", "both"],
)
@pytest.mark.parametrize("dialect", [MAY_27, JUNE_16, AUGUST_10, CURRENT])
def test_a_cancel_has_only_what_was_given(end: RunEnd, data: dict[str, str], dialect: Dialect) -> None:
    event = ended(end, dialect)

    assert set(event) == ENVELOPE
    assert (event["type"], event["data"]) == ("run_cancelled", data)


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (RunEnd.cancelled(), "run cancelled"),
        (RunEnd.cancelled(reason="user"), "run cancelled"),
        (RunEnd.cancelled(reason="user", message="stop it"), "stop it"),
    ],
)
def test_a_cancel_of_14_may_is_a_failure_with_the_reason_cancelled(end: RunEnd, error: str) -> None:
    event = ended(end, MAY_14)

    assert (event["type"], event["data"]) == ("run_failed", {"error": error, "reason": CANCELLED_REASON})


@pytest.mark.parametrize("dialect", Dialect)
def test_a_terminal_event_is_marked_with_the_type_in_its_payload(dialect: Dialect) -> None:
    event = EventEncoder("run-1", dialect).ended(RunEnd.cancelled())

    assert event.type is (EventType.RUN_FAILED if dialect is MAY_14 else EventType.RUN_CANCELLED)
    assert json.loads(event.payload)["type"] == event.type


def test_numbers_that_json_does_not_have_are_never_written() -> None:
    end = RunEnd.succeeded(output={"ratio": float("nan")}, snapshot=SNAPSHOT, usage=None)

    payload = EventEncoder("run-1", CURRENT).ended(end).payload

    assert b"NaN" not in payload
    assert json.loads(payload)["data"]["output"] == {"ratio": None}
