"""The limits of one run: each ends it cleanly, with a distinct reason."""

from __future__ import annotations

from tests.conftest import StartServer
from tests.support.client import RunClient, demo_llm, plugin_layers, prompt
from tests.support.plugin_daemon import ScriptedDaemon


def test_a_run_that_takes_too_long_ends_with_reason_timeout(start_server: StartServer, daemon: ScriptedDaemon) -> None:
    daemon.script("endless", [{"text": "begun"}, {"hang": True}])
    client = RunClient(start_server(redis_prefix="timeout", run_timeout_seconds=1).url)

    terminal = client.finish(client.create(prompt(), *plugin_layers("endless")))

    assert terminal["type"] == "run_failed"
    assert terminal["data"] == {"error": "the run took longer than 1 seconds", "reason": "timeout"}
    assert daemon.wait_until_ended("endless")["closed_by_client"]


def test_a_run_within_the_time_limit_is_left_alone(start_server: StartServer) -> None:
    client = RunClient(start_server(redis_prefix="in-time", run_timeout_seconds=60).url)

    assert client.finish(client.create(prompt(), demo_llm(delay_ms=10)))["type"] == "run_succeeded"


def test_one_model_request_too_many_ends_the_run(start_server: StartServer) -> None:
    client = RunClient(start_server(redis_prefix="requests", max_model_requests=1).url)

    terminal = client.finish(client.create(prompt(), demo_llm(call_tool="count_words")))

    assert terminal["type"] == "run_failed"
    assert terminal["data"]["error_type"] == "agent_run_limit_exceeded"


def test_tool_arguments_over_the_limit_end_the_run(start_server: StartServer) -> None:
    client = RunClient(start_server(redis_prefix="arguments", max_tool_argument_bytes=100).url)

    terminal = client.finish(client.create(prompt("word " * 100), demo_llm(call_tool="count_words")))

    assert terminal["data"]["reason"] == "tool_arguments_too_large"
    assert "count_words" in terminal["data"]["error"]


def test_a_tool_result_over_the_limit_ends_the_run(start_server: StartServer) -> None:
    client = RunClient(start_server(redis_prefix="result", max_tool_result_bytes=1).url)

    terminal = client.finish(client.create(prompt("word " * 20), demo_llm(call_tool="count_words")))

    assert terminal["data"]["reason"] == "tool_result_too_large"
