"""Deferred tool calls: the results that the next run gives the model."""

from __future__ import annotations

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart

from runtime.composition.layer_config import NoConfig
from runtime.execution.deferral import deferred_results
from runtime.layers.history import HistoryLayer, HistoryState
from runtime.protocol.requests import DeferredToolResults

PROMPT = ModelRequest.user_text_prompt("Deploy it.")
CALLS = ModelResponse(parts=[ToolCallPart("ask_human", {}, "call-1"), ToolCallPart("count", {}, "call-2")])
COUNTED = ModelRequest(parts=[ToolReturnPart("count", 2, "call-2")])
ANSWERED = ModelRequest(parts=[ToolReturnPart("ask_human", {"status": "timeout"}, "call-1")])


def history(*messages: ModelMessage) -> HistoryLayer:
    return HistoryLayer("history", NoConfig(), HistoryState(messages=list(messages)))


def unanswered(*messages: ModelMessage) -> list[str]:
    return [call.tool_call_id for call in history(*messages).unanswered_calls()]


def test_calls_of_the_last_response_are_open_until_they_have_a_result() -> None:
    assert unanswered() == []
    assert unanswered(PROMPT) == []
    assert unanswered(PROMPT, CALLS) == ["call-1", "call-2"]
    assert unanswered(PROMPT, CALLS, COUNTED) == ["call-1"]
    assert unanswered(PROMPT, CALLS, COUNTED, ANSWERED) == []
    assert unanswered(PROMPT, CALLS, COUNTED, ModelResponse(parts=[TextPart("Done.")])) == []


def test_a_retry_prompt_of_an_older_history_is_a_result() -> None:
    refused = {
        "part_kind": "retry-prompt",
        "content": "wrong",
        "tool_name": "count",
        "tool_call_id": "call-2",
    }
    older = HistoryState.model_validate({"messages": [{"kind": "request", "parts": [refused]}]}).messages

    assert unanswered(PROMPT, CALLS, *older) == ["call-1"]


def test_the_results_of_the_request_are_passed_on_unchanged() -> None:
    given = DeferredToolResults(
        calls={"call-1": {"status": "submitted", "message": None}}, metadata={"call-1": {"a": 1}}
    )

    results = deferred_results(given, history(PROMPT, CALLS, COUNTED))

    assert results is not None
    assert results.calls == {"call-1": {"status": "submitted", "message": None}}
    assert results.metadata == {"call-1": {"a": 1}}


def test_an_open_call_of_an_ordinary_run_gets_the_result_unanswered() -> None:
    results = deferred_results(None, history(PROMPT, CALLS, COUNTED))

    assert results is not None
    told = {"status": "unavailable", "values": {}, "message": "The conversation went on without an answer."}
    assert results.calls == {"call-1": told}


def test_a_run_without_open_calls_has_no_results() -> None:
    assert deferred_results(None, None) is None
    assert deferred_results(None, history(PROMPT, CALLS, COUNTED, ANSWERED)) is None
