"""The MCP layer with servers that lose its session in the middle of a run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.mcp_server import running_mcp_server
from tests.unit.layers.test_greenrun_mcp import run

REFUSALS = [
    (404, '{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}'),
    (404, '{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}'),
    (404, ""),
    (404, "404 page not found"),
    (400, '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}'),
    (400, '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Server not initialized"}}'),
    (400, '{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Missing session ID"}}'),
    (400, "Invalid session ID"),
    (400, "Mcp-Session-Id header is required: session expired"),
]


def forgetting(*, sessions: int = 1, status: int = 404, body: str = "", **rest: Any) -> Any:
    return running_mcp_server("--forget", json.dumps({"sessions": sessions, "status": status, "body": body, **rest}))


@pytest.mark.parametrize(("status", "body"), REFUSALS)
def test_a_call_that_is_refused_for_its_session_is_made_once_more_in_a_new_one(status: int, body: str) -> None:
    with forgetting(status=status, body=body) as server:
        told = run(("echo", {"text": "a"}), ("count", {}), ("count", {}), url=server.url)

    assert told.returned == [("success", "echo: a"), ("success", "1"), ("success", "2")]


def test_each_lost_session_is_replaced() -> None:
    with forgetting() as server:
        first = run(("count", {}), url=server.url)
    with forgetting(sessions=3, tool="echo") as server:
        others = run(*[("count", {}), ("echo", {"text": "b"})] * 2, url=server.url, max_result_chars=100)

    assert first.returned == [("success", "1")]
    # The second session is lost in the call that was made once more, the third one in a call of its own.
    assert [outcome for outcome, _ in others.returned] == ["success", "failed", "success", "success"]
    assert others.returned[2] == ("success", "2")


def test_a_call_whose_new_session_is_lost_as_well_is_an_observation() -> None:
    with forgetting(sessions=2) as server:
        told = run(("count", {}), ("echo", {"text": "a"}), url=server.url)

    [(outcome, text), echoed] = told.returned
    assert outcome == "failed"
    assert text == "The tool's server lost the session, and then the call: it has forgotten the session."
    assert echoed == ("success", "echo: a")


def test_a_session_that_cannot_be_replaced_is_an_observation_and_the_next_call_tries_again() -> None:
    with forgetting(handshakes=0) as server:
        told = run(("count", {}), ("echo", {"text": "a"}), url=server.url)

    assert [outcome for outcome, _ in told.returned] == ["failed", "failed"]
    assert all(
        text.startswith("The tool's server lost the session, and a new one failed: ") for _, text in told.returned
    )


def test_calls_that_lose_their_session_together_open_one_and_hold_up_no_other() -> None:
    with forgetting(handshakes=1) as server:
        told = run(
            [("slow", {"seconds": 1}), ("count", {}), ("count", {}), ("count", {})], ("count", {}), url=server.url
        )

    slow, *counted = told.returned
    assert slow == ("success", "done at last")
    assert sorted(counted) == [("success", str(number)) for number in range(1, 5)]


@pytest.mark.parametrize(
    "body", ['{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Invalid params"}}', "bad request"]
)
def test_another_bad_request_is_the_failure_of_its_call_and_no_new_session(body: str) -> None:
    with forgetting(status=400, body=body, handshakes=0) as server:
        told = run(("count", {}), url=server.url)

    [(outcome, text)] = told.returned
    assert outcome == "failed"
    assert text.startswith("The tool's server refused the call: ")
