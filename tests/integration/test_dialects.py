"""Dialects on the wire: a request of each date gets exactly the keys that its client accepts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.client import RunClient, demo_llm, prompt
from tests.support.plugin_daemon import USAGE, ScriptedDaemon

ENVELOPE = {"id", "run_id", "type", "data", "created_at"}
STATUS = {"run_id", "status", "created_at", "updated_at", "error"}
MAY_14, MAY_27, JUNE_16 = "2026-05-14", "2026-05-27", "2026-06-16"
JULY_17, AUGUST_10, CURRENT = "2026-07-17", "2026-08-10", "current"
LATE = {JULY_17, AUGUST_10, CURRENT}
TOKENS = {"prompt_tokens", "completion_tokens", "total_tokens"}
OLD_KINDS = {"part_start", "part_delta", "part_end", "final_result", "function_tool_call", "function_tool_result"}


def llm(model: str, dep: str, **config: Any) -> dict[str, Any]:
    config = {"model_provider": "openai", "model": model, "credentials": {}, **config}
    return {"name": "llm", "type": "dify.plugin.llm", "deps": {dep: dep}, "config": config}


def context(**config: Any) -> dict[str, Any]:
    return {"name": "execution_context", "type": "dify.execution_context", "config": {"tenant_id": "t", **config}}


def request_of(dialect: str, model: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The layers and the other keys of a request, as Dify's client of that date sends it."""
    later = llm(model, "execution_context", plugin_id="langgenius/openai")
    match dialect:
        case "2026-05-14":
            plugin = {"name": "plugin", "type": "dify.plugin", "config": {"tenant_id": "t", "plugin_id": "o/p"}}
            return [prompt(), plugin, llm(model, "plugin")], {}
        case "2026-05-27":
            return [prompt(), context(invoke_from="workflow_run"), later], {"purpose": "workflow_node"}
        case "2026-06-16":
            return [prompt(), context(invoke_from="debugger", agent_mode="workflow_run"), later], {}
        case _:
            return [prompt(), context(invoke_from="debugger"), later], {}


def assert_keys(dialect: str, events: list[dict[str, Any]], status: dict[str, Any]) -> None:
    """Asserts the exact keys of every envelope, terminal event, snapshot and status."""
    for event in events:
        is_agent_event = event["type"] == "pydantic_ai_event"
        assert set(event) == ENVELOPE | ({"agent_message_delta"} if is_agent_event and dialect in LATE else set())
        if is_agent_event and dialect != CURRENT:
            assert event["data"]["event_kind"] in (
                OLD_KINDS - {"function_tool_result"} if dialect == MAY_14 else OLD_KINDS
            ) | ({"output_tool_call", "output_tool_result"} if dialect == AUGUST_10 else set())
    terminal = events[-1]
    late_only = {"usage"} if dialect in LATE else set()
    if terminal["type"] == "run_succeeded":
        assert set(terminal["data"]) == {"output", "session_snapshot"} | late_only
        assert set(terminal["data"]["session_snapshot"]) == {"schema_version", "layers"}
        for layer in terminal["data"]["session_snapshot"]["layers"]:
            assert set(layer) == {"name", "lifecycle_state", "runtime_state"}
        if dialect == JULY_17:
            assert set(terminal["data"]["usage"]) == TOKENS
    assert set(status) == STATUS


@pytest.mark.parametrize("dialect", [MAY_14, MAY_27, JUNE_16, CURRENT])
def test_a_successful_run_has_the_keys_of_the_dialect_its_request_bears(
    client: RunClient, daemon: ScriptedDaemon, dialect: str
) -> None:
    unknown_tool: list[dict[str, Any]] = [
        {"tool_call": {"id": "1", "name": "nothing", "arguments": "{}"}},
        {"finish": "tool_calls"},
    ]
    daemon.script("dialect", unknown_tool, [{"text": "two words", "split": 3}, {"finish": "stop", "usage": USAGE}])
    layers, rest = request_of(dialect, "dialect")

    run_id = client.create(*layers, **rest)
    events = [frame.data for frame in client.stream(run_id)]

    assert events[-1]["type"] == "run_succeeded"
    assert_keys(dialect, events, client.status(run_id))
    page = client.page(run_id, limit=500)
    assert set(page) == {"run_id", "events", "next_cursor"}
    assert page["events"] == events
    results = [event["data"] for event in events if event["data"].get("event_kind") == "function_tool_result"]
    expected = {MAY_14: [], CURRENT: ["tool-return"]}.get(dialect, ["retry-prompt"])
    assert [result["part"]["part_kind"] for result in results] == expected


@pytest.mark.parametrize("dialect", [MAY_14, MAY_27, JUNE_16, CURRENT])
def test_a_failed_and_a_cancelled_run_have_the_keys_of_their_dialect(
    client: RunClient, daemon: ScriptedDaemon, dialect: str
) -> None:
    daemon.script("failing", [{"error": {"error_type": "InvokeRateLimitError", "message": "slow down"}}])
    daemon.script("hanging", [{"text": "begun"}, {"hang": True}])
    layers, rest = request_of(dialect, "failing")
    failed = client.create(*layers, **rest)
    layers, rest = request_of(dialect, "hanging")
    cancelled = client.create(*layers, **rest)
    daemon.wait_for_call("hanging")
    client.cancel(cancelled)

    for run_id in (failed, cancelled):
        assert_keys(dialect, [frame.data for frame in client.stream(run_id)], client.status(run_id))
    assert client.finish(failed)["data"] == {"error": "slow down", "reason": "InvokeRateLimitError"}
    ending = client.finish(cancelled)
    if dialect == MAY_14:
        assert (ending["type"], ending["data"]["reason"]) == ("run_failed", "cancelled")
    else:
        assert (ending["type"], ending["data"]) == ("run_cancelled", {})


@pytest.mark.parametrize("dialect", [MAY_14, MAY_27, JUNE_16, JULY_17, AUGUST_10, CURRENT])
def test_the_setting_overrides_what_the_request_bears(start_server: StartServer, dialect: str) -> None:
    client = RunClient(start_server(redis_prefix=f"override-{dialect}", wire_dialect=dialect).url)

    run_id = client.create(prompt("a b c"), demo_llm(call_tool="count_words"))
    events = [frame.data for frame in client.stream(run_id)]

    assert_keys(dialect, events, client.status(run_id))
    results = [event["data"] for event in events if event["data"].get("event_kind") == "function_tool_result"]
    assert [result["part"]["content"] for result in results] == ([] if dialect == MAY_14 else [3])


@pytest.mark.parametrize(("dialect", "error"), [(JULY_17, None), (AUGUST_10, "no longer needed"), (CURRENT, "user")])
def test_since_august_the_status_of_a_cancelled_run_says_why(
    start_server: StartServer, daemon: ScriptedDaemon, dialect: str, error: str | None
) -> None:
    client = RunClient(start_server(redis_prefix=f"why-{dialect}", wire_dialect=dialect).url)
    daemon.script("why", [{"text": "begun"}, {"hang": True}])
    layers, rest = request_of(CURRENT, "why")
    run_id = client.create(*layers, **rest)
    daemon.wait_for_call("why")

    client.cancel(run_id, {"reason": "user", "message": error if dialect == AUGUST_10 else None})

    status = client.wait_for_status(run_id, "cancelled")
    assert status["error"] == error
    assert set(status) == STATUS
