"""What is refused before a run is stored: deferred tool calls, their results, and what counts as a cleanup."""

from __future__ import annotations

from typing import Any

import pytest

from errors import InvalidComposition
from runtime.config import OperatorRules
from runtime.protocol.dialects import Dialect
from runtime.protocol.requests import CreateRunRequest
from runtime.runs import ProvenRun
from services.run_checks import is_cleanup, proven_run

PROMPT = {"name": "prompt", "type": "plain.prompt", "config": {"user": "Deploy it."}}
BLANK = {"name": "prompt", "type": "plain.prompt", "config": {"prefix": "You deploy."}}
HISTORY = {"name": "history", "type": "pydantic_ai.history"}
ASK = {"name": "ask", "type": "dify.ask_human"}
LLM = {"name": "llm", "type": "greenrun.demo_llm"}
CANARY = "sk-canary"
ANSWER = {"status": "submitted", "action": {"id": "go", "label": "Go"}, "values": {}}

CALLS = [
    {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": "Deploy it."}]},
    {
        "kind": "response",
        "parts": [
            {"part_kind": "tool-call", "tool_name": "ask_human", "args": "{}", "tool_call_id": "call-1"},
            {"part_kind": "tool-call", "tool_name": "count", "args": "{}", "tool_call_id": "call-2"},
        ],
    },
    {
        "kind": "request",
        "parts": [{"part_kind": "tool-return", "tool_name": "count", "content": 2, "tool_call_id": "call-2"}],
    },
]


def request(*layers: dict[str, Any], messages: list[dict[str, Any]] | None = None, **rest: Any) -> CreateRunRequest:
    """A request; with messages it has a snapshot whose history has them."""
    if messages is not None:
        entries = [
            {
                "name": layer["name"],
                "lifecycle_state": "suspended",
                "runtime_state": {"messages": messages} if layer is HISTORY else {},
            }
            for layer in layers
        ]
        rest["session_snapshot"] = {"layers": entries}
    return CreateRunRequest.model_validate({"composition": {"layers": list(layers)}, **rest})


def prove(*layers: dict[str, Any], dialect: Dialect = Dialect.JUNE_16, **rest: Any) -> ProvenRun:
    return proven_run(request(*layers, **rest), dialect, OperatorRules())


def refusal(*layers: dict[str, Any], **rest: Any) -> str:
    with pytest.raises(InvalidComposition) as caught:
        prove(*layers, **rest)
    return caught.value.message


def results(**calls: Any) -> dict[str, Any]:
    return {"calls": {call_id.replace("_", "-"): value for call_id, value in calls.items()}}


def test_a_layer_that_asks_needs_a_history() -> None:
    assert refusal(PROMPT, ASK) == "layer 'ask': it needs a layer of type 'pydantic_ai.history'"

    prove(PROMPT, HISTORY, ASK)
    prove(PROMPT, {**ASK, "config": {"enabled": False}})


@pytest.mark.parametrize("dialect", [Dialect.MAY_14, Dialect.MAY_27])
def test_a_layer_that_asks_is_refused_where_the_dialect_could_not_say_so(dialect: Dialect) -> None:
    message = refusal(PROMPT, HISTORY, ASK, dialect=dialect)

    assert message == f"layer 'ask': the dialect {dialect} knows no deferred tool calls"
    prove(PROMPT, HISTORY, {**ASK, "config": {"enabled": False}}, dialect=dialect)


def test_results_are_taken_without_a_user_prompt() -> None:
    assert refusal(BLANK, HISTORY, ASK) == "run.user_prompts must not be empty"

    proven = prove(BLANK, HISTORY, ASK, messages=CALLS, deferred_tool_results=results(call_1=ANSWER))

    assert proven.deferred_results is not None
    assert proven.deferred_results.calls == {"call-1": ANSWER}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (results(call_9=ANSWER), "deferred_tool_results: no such call waits for a result: 'call-9'"),
        (
            results(call_1=ANSWER, call_2=ANSWER),
            "deferred_tool_results: no such call waits for a result: 'call-2'",
        ),
        (
            {**results(call_1=ANSWER), "metadata": {"call-9": {}}},
            "deferred_tool_results: no such call waits for a result: 'call-9'",
        ),
        (results(), "deferred_tool_results: a result is missing: 'call-1'"),
        (
            results(call_1=CANARY),
            "deferred_tool_results: the result of 'call-1' is invalid: value: Input should be a valid dictionary or "
            "instance of AskHumanResult",
        ),
        (
            results(call_1={"status": CANARY}),
            "deferred_tool_results: the result of 'call-1' is invalid: status: "
            "Input should be 'submitted', 'timeout', 'cancelled' or 'unavailable'",
        ),
    ],
    ids=["unknown", "answered already", "unknown metadata", "missing", "no object", "wrong status"],
)
def test_results_that_do_not_fit_the_open_calls_are_refused(given: dict[str, Any], told: str) -> None:
    message = refusal(PROMPT, HISTORY, ASK, messages=CALLS, deferred_tool_results=given)

    assert message == told
    assert CANARY not in message


ANSWERED = [
    *CALLS,
    {
        "kind": "request",
        "parts": [{"part_kind": "tool-return", "tool_name": "ask_human", "content": ANSWER, "tool_call_id": "call-1"}],
    },
    {"kind": "response", "parts": [{"part_kind": "text", "content": "Deployed."}]},
]


def test_results_that_the_history_has_already_begin_another_attempt_in_dialects_of_dify() -> None:
    given: dict[str, Any] = {"messages": ANSWERED, "deferred_tool_results": results(call_1=ANSWER)}

    proven = prove(PROMPT, HISTORY, ASK, **given)

    assert proven.deferred_results is None


def test_another_attempt_needs_a_user_prompt() -> None:
    given: dict[str, Any] = {"messages": ANSWERED, "deferred_tool_results": results(call_1=ANSWER)}

    assert refusal(BLANK, HISTORY, ASK, **given) == "run.user_prompts must not be empty"


@pytest.mark.parametrize(
    ("given", "dialect", "told"),
    [
        (results(call_1=ANSWER), Dialect.CURRENT, "no such call waits for a result: 'call-1'"),
        (results(call_1=ANSWER, call_9=ANSWER), Dialect.JUNE_16, "no such call waits for a result: 'call-1', 'call-9'"),
        (
            {**results(call_1=ANSWER), "metadata": {"call-9": {}}},
            Dialect.JUNE_16,
            "no such call waits for a result: 'call-1', 'call-9'",
        ),
        (results(), Dialect.JUNE_16, "no call of the history waits for a result"),
    ],
    ids=["current", "another unknown", "unknown metadata", "none"],
)
def test_results_that_do_not_just_repeat_the_known_ones_are_refused(
    given: dict[str, Any], dialect: Dialect, told: str
) -> None:
    message = refusal(PROMPT, HISTORY, ASK, messages=ANSWERED, deferred_tool_results=given, dialect=dialect)

    assert message == f"deferred_tool_results: {told}"


def test_results_need_a_history() -> None:
    message = refusal(PROMPT, deferred_tool_results=results(call_1=ANSWER))

    assert message == "deferred_tool_results need a layer of type 'pydantic_ai.history'"


@pytest.mark.parametrize("messages", [None, [], CALLS[:1]], ids=["no snapshot", "no message", "no answer"])
def test_results_need_an_open_call(messages: list[dict[str, Any]] | None) -> None:
    assert refusal(PROMPT, HISTORY, ASK, messages=messages, deferred_tool_results=results()) == (
        "deferred_tool_results: no call of the history waits for a result"
    )


def test_an_unknown_call_id_is_shown_shortened() -> None:
    message = refusal(PROMPT, HISTORY, ASK, messages=CALLS, deferred_tool_results=results(**{"x" * 10_000: ANSWER}))

    assert len(message) < 200


CLEANUP: dict[str, Any] = {
    "messages": [],
    "on_exit": {"default": "delete"},
}


@pytest.mark.parametrize("metadata", [{}, {"agent_backend_lifecycle": "session_cleanup"}, {"any": "thing"}])
def test_a_request_with_a_snapshot_that_deletes_without_a_model_is_a_cleanup(metadata: dict[str, Any]) -> None:
    assert is_cleanup(request(BLANK, HISTORY, metadata=metadata, **CLEANUP))

    prove(BLANK, HISTORY, **CLEANUP)


@pytest.mark.parametrize(
    ("layers", "change"),
    [
        ([BLANK, HISTORY], {"messages": None}),
        ([BLANK, HISTORY], {"on_exit": {"default": "suspend"}}),
        ([BLANK, HISTORY], {"on_exit": {"layers": {"prompt": "delete", "history": "delete"}}}),
        ([BLANK, HISTORY, LLM], {}),
    ],
    ids=["no snapshot", "suspend", "delete by name alone", "a model"],
)
def test_a_request_that_lacks_a_sign_of_a_cleanup_is_an_ordinary_run(
    layers: list[dict[str, Any]], change: dict[str, Any]
) -> None:
    given = {**CLEANUP, **change}

    assert not is_cleanup(request(*layers, **given))
    assert refusal(*layers, **given) == "run.user_prompts must not be empty"


def test_a_cleanup_takes_no_results() -> None:
    message = refusal(BLANK, HISTORY, **{**CLEANUP, "messages": CALLS}, deferred_tool_results=results(call_1=ANSWER))

    assert message == "deferred_tool_results: a cleanup run calls no model that could take them"


def test_a_cleanup_of_a_session_that_asks_needs_no_history_and_no_late_dialect() -> None:
    prove(BLANK, ASK, dialect=Dialect.MAY_27, **CLEANUP)
