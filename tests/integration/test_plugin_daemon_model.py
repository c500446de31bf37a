"""The plugin daemon's model over real HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_ai import Agent, ToolOutput
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelRateLimitError,
    ModelRequestTimeout,
    ModelServerError,
    ModelTimeoutError,
    UserError,
)
from pydantic_ai.messages import AgentStreamEvent, ModelMessage, ModelRequest, PartDeltaEvent, PartStartEvent
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from runtime.llm.plugin_daemon import (
    PluginDaemonClient,
    PluginDaemonConnectionError,
    PluginDaemonError,
    PluginDaemonModel,
    PluginDaemonProtocolError,
    PluginDaemonTimeoutError,
)
from runtime.llm.plugin_daemon.body import MAX_UNREAD_BYTES
from runtime.llm.plugin_daemon.failures import Failures
from runtime.llm.plugin_daemon.lines import LineBatches
from runtime.llm.usage import UsageLedger
from tests.support.plugin_daemon import USAGE, ScriptedDaemon, Step

PROVIDER_KEY = "sk-provider-secret"
FINISH: Step = {"finish": "stop", "usage": USAGE}
QUESTION: list[ModelMessage] = [ModelRequest.user_text_prompt("hi")]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model name for this test alone, so that no two tests share a script."""
    return str(request.node.name)


class Worker:
    """Stands for a worker: one client, and models that share it."""

    def __init__(self, daemon: ScriptedDaemon, **options: Any) -> None:
        given: dict[str, Any] = {
            "base_url": daemon.url,
            "api_key": SecretStr(daemon.api_key),
            "connect_timeout": 10,
            "read_timeout": 30,
            "write_timeout": 10,
            "pool_timeout": None,
            "max_connections": 100,
            "max_keepalive_connections": 20,
            "keepalive_expiry": 30,
            **options,
        }
        self.client = PluginDaemonClient(**given)
        self.ledger = UsageLedger()

    def model(self, name: str, settings: ModelSettings | None = None, **identity: Any) -> PluginDaemonModel:
        given: dict[str, Any] = {
            "tenant_id": "tenant",
            "plugin_id": "langgenius/openai",
            "user_id": "user",
            "provider": "openai",
            "credentials": {"openai_api_key": PROVIDER_KEY},
            "secrets": [PROVIDER_KEY],
            **identity,
        }
        return PluginDaemonModel(self.client, model=name, model_settings=settings, usage=self.ledger, **given)

    async def ask(self, name: str, settings: ModelSettings | None = None) -> str:
        return (await Agent(self.model(name, settings)).run("hi")).output

    async def events(self, name: str) -> list[AgentStreamEvent]:
        async with Agent(self.model(name)).run_stream_events("hi") as events:
            return [event async for event in events]  # type: ignore[misc]


@asynccontextmanager
async def working(daemon: ScriptedDaemon, **options: Any) -> AsyncIterator[Worker]:
    worker = Worker(daemon, **options)
    try:
        yield worker
    finally:
        await worker.client.aclose()


def run(daemon: ScriptedDaemon, work: Callable[[Worker], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        async with working(daemon, **options) as worker:
            await work(worker)

    asyncio.run(main())


def failure_of(daemon: ScriptedDaemon, name: str, **options: Any) -> Exception:
    """Calls this model and returns the error that the call ends with."""
    caught: list[Exception] = []

    async def call(worker: Worker) -> None:
        try:
            await worker.ask(name)
        except Exception as error:
            caught.append(error)

    run(daemon, call, **options)
    assert caught, "the call should have failed"
    assert PROVIDER_KEY not in repr(caught[0])
    return caught[0]


def text_of(events: list[AgentStreamEvent]) -> str:
    pieces = [event.part for event in events if isinstance(event, PartStartEvent)]
    deltas = [event.delta for event in events if isinstance(event, PartDeltaEvent)]
    return "".join(str(getattr(piece, "content", "")) for piece in pieces) + "".join(
        str(getattr(delta, "content_delta", "")) for delta in deltas
    )


def test_a_call_names_its_tenant_plugin_and_user(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "hello"}, FINISH])

    async def work(worker: Worker) -> None:
        assert await worker.ask(name, ModelSettings(temperature=0.5)) == "hello"

    run(daemon, work)

    [call] = daemon.calls(name)
    assert call["path"] == "/plugin/tenant/dispatch/llm/invoke"
    assert call["headers"]["x-api-key"] == daemon.api_key
    assert call["headers"]["x-plugin-id"] == "langgenius/openai"
    assert call["headers"]["content-type"] == "application/json"
    assert call["body"] == {
        "user_id": "user",
        "data": {
            "provider": "openai",
            "model_type": "llm",
            "model": name,
            "credentials": {"openai_api_key": PROVIDER_KEY},
            "prompt_messages": [{"role": "user", "content": "hi", "name": None}],
            "model_parameters": {"temperature": 0.5},
            "tools": None,
            "stop": None,
            "stream": True,
        },
    }


def test_a_tenant_id_stays_one_piece_of_the_path(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "hello"}])

    async def work(worker: Worker) -> None:
        await Agent(worker.model(name, tenant_id="a/../b ü?")).run("hi")

    run(daemon, work)

    assert daemon.calls(name)[0]["path"] == "/plugin/a%2F..%2Fb%20%C3%BC%3F/dispatch/llm/invoke"


def test_each_chunk_is_an_event_and_the_usage_is_recorded(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "abcdef", "split": 2, "pause": 0.01}, FINISH])
    seen: list[str] = []

    async def work(worker: Worker) -> None:
        seen.extend(event.event_kind for event in await worker.events(name))
        total = worker.ledger.total()
        assert total is not None
        assert (total.prompt_tokens, total.completion_tokens, str(total.total_price)) == (7, 5, "0.000017")

    run(daemon, work)

    assert seen == ["part_start", "final_result", "part_delta", "part_delta", "part_end", "agent_run_result"]


def test_text_survives_every_split_on_the_socket(daemon: ScriptedDaemon, name: str) -> None:
    text = "line\u2028separators \u0085 and \U0001f600 <b>"
    daemon.script(name, [{"text": text, "split": 4, "bytes": 5, "pause": 0.001}, FINISH])

    async def work(worker: Worker) -> None:
        assert text_of(await worker.events(name)) == text

    run(daemon, work)


def test_what_arrives_together_is_read_together(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "x" * 50, "split": 1}])

    async def work(worker: Worker) -> None:
        body = json.dumps({"data": {"model": name}}).encode()
        failures = Failures(name, [])
        async with worker.client.invoke_llm(tenant_id="t", plugin_id="p", body=body, failures=failures) as reader:
            await asyncio.to_thread(daemon.wait_until_ended, name)
            batches = [[line for line in batch if line] async for batch in LineBatches(reader)]
        assert sum(len(batch) for batch in batches) == 50
        assert len(batches) < 10

    run(daemon, work)


def test_a_fast_daemon_waits_for_a_slow_run(daemon: ScriptedDaemon, name: str) -> None:
    chunks, text = 200, "x" * 100_000
    daemon.script(name, [{"stream": {"chunks": chunks, "text": text}}])

    async def work(worker: Worker) -> None:
        body = json.dumps({"data": {"model": name}}).encode()
        failures = Failures(name, [])
        async with worker.client.invoke_llm(tenant_id="t", plugin_id="p", body=body, failures=failures) as reader:
            total = 0
            while (pieces := await reader.take()) is not None:
                taken = sum(len(piece) for piece in pieces)
                assert taken < MAX_UNREAD_BYTES + 200_000
                total += taken
                await asyncio.sleep(0.01)
        assert total > chunks * len(text)

    run(daemon, work)


def test_tools_are_called_and_their_results_sent_back(daemon: ScriptedDaemon, name: str) -> None:
    first: list[Step] = [
        {"text": "let me see"},
        {"tool_call": {"name": "add", "arguments": '{"a":'}},
        {"tool_call": {"arguments": "1}"}},
        {"tool_call": {"id": "none", "name": "add", "arguments": '{"a":2}'}},
        {"finish": "tool_calls", "usage": USAGE},
    ]
    daemon.script(name, first, [{"text": "done"}, FINISH])
    added: list[int] = []

    async def work(worker: Worker) -> None:
        agent = Agent(worker.model(name))

        @agent.tool_plain
        def add(a: int) -> str:
            added.append(a)
            return f"added {a}"

        assert (await agent.run("hi")).output == "done"
        total = worker.ledger.total()
        assert total is not None
        assert total.prompt_tokens == 14

    run(daemon, work)

    assert sorted(added) == [1, 2]
    first_call, second_call = daemon.calls(name)
    assert [tool["name"] for tool in first_call["body"]["data"]["tools"]] == ["add"]
    sent = second_call["body"]["data"]["prompt_messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
    assert sent[1]["content"] == "let me see"
    ids = [call["id"] for call in sent[1]["tool_calls"]]
    assert len(set(ids)) == 2
    assert [(message["tool_call_id"], message["content"]) for message in sent[2:]] == [
        (ids[0], "added 1"),
        (ids[1], "added 2"),
    ]


def test_an_invalid_output_goes_back_to_the_model(daemon: ScriptedDaemon, name: str) -> None:
    def answer(arguments: str) -> list[Step]:
        return [{"tool_call": {"id": "1", "name": "final_output", "arguments": arguments}}, FINISH]

    daemon.script(name, answer('{"n": "many"}'), answer('{"n": 3}'))

    async def work(worker: Worker) -> None:
        def output(n: int) -> int:
            return n

        agent = Agent(worker.model(name), output_type=ToolOutput(output, name="final_output"))
        assert (await agent.run("hi")).output == 3

    run(daemon, work)

    retry = daemon.calls(name)[1]["body"]["data"]["prompt_messages"][-1]
    assert (retry["role"], retry["name"], retry["tool_call_id"]) == ("tool", "final_output", "1")
    assert "int_parsing" in retry["content"]


def test_a_plain_request_gives_the_whole_answer(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "<think>hm</think>hello", "split": 4}, FINISH])

    async def work(worker: Worker) -> None:
        response = await worker.model(name).request(QUESTION, None, ModelRequestParameters())
        assert (response.thinking, response.text) == ("hm", "hello")
        assert (response.finish_reason, response.state) == ("stop", "complete")
        assert response.usage.input_tokens == 7

    run(daemon, work)


# Stopping.


def test_cancelling_a_run_closes_the_connection(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "hello"}, {"hang": True}])

    async def work(worker: Worker) -> None:
        task = asyncio.create_task(worker.events(name))
        await asyncio.to_thread(daemon.wait_for_call, name)
        await asyncio.sleep(0.1)
        task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        call = await asyncio.to_thread(daemon.wait_until_ended, name)
        assert call["closed_by_client"]
        assert time.monotonic() - began < 10

    run(daemon, work)


def test_a_run_is_cancelled_while_the_daemon_has_not_answered(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"status": 200, "pause": 60}])

    async def work(worker: Worker) -> None:
        task = asyncio.create_task(worker.ask(name))
        await asyncio.to_thread(daemon.wait_for_call, name)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await asyncio.to_thread(daemon.wait_until_ended, name))["closed_by_client"]

    run(daemon, work)


def test_cancelling_a_stream_keeps_what_came(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "hello"}, {"hang": True}])

    async def work(worker: Worker) -> None:
        async with worker.model(name).request_stream(QUESTION, None, ModelRequestParameters()) as stream:
            events = aiter(stream)
            await anext(events)
            waiting = asyncio.create_task(drain(events))
            await asyncio.sleep(0.05)
            await stream.cancel()
            async with asyncio.timeout(10):
                await waiting
            assert (stream.get().text, stream.get().state) == ("hello", "interrupted")
            assert (await asyncio.to_thread(daemon.wait_until_ended, name))["closed_by_client"]

    run(daemon, work)


async def drain(events: AsyncIterator[Any]) -> None:
    async for _ in events:
        pass


def test_abandoning_a_stream_closes_the_connection(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "hello"}, {"hang": True}])

    async def work(worker: Worker) -> None:
        async with worker.model(name).request_stream(QUESTION, None, ModelRequestParameters()) as stream:
            await anext(aiter(stream))
        assert (await asyncio.to_thread(daemon.wait_until_ended, name))["closed_by_client"]
        assert len(asyncio.all_tasks()) == 1

    run(daemon, work)


def test_a_deadline_of_the_request_closes_the_connection(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "hello"}, {"hang": True}])

    async def work(worker: Worker) -> None:
        with pytest.raises(ModelRequestTimeout):
            await worker.ask(name, ModelSettings(request_timeout=0.3))
        assert (await asyncio.to_thread(daemon.wait_until_ended, name))["closed_by_client"]

    run(daemon, work)


# Waiting for a turn.


def test_calls_beyond_the_limit_wait_for_their_turn(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "hello"}, {"pause": 0.1}, FINISH])

    async def work(worker: Worker) -> None:
        assert await asyncio.gather(*(worker.ask(name) for _ in range(8))) == ["hello"] * 8

    run(daemon, work, max_connections=2)

    calls = daemon.calls(name)
    spans = [(call["began_at"], call["began_at"] + call["open_seconds"]) for call in calls]
    together = max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)
    assert len(calls) == 8
    assert together == 2


def test_a_waiting_call_can_be_cancelled_and_leaves_its_turn_to_others(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"hang": True}], [{"text": "second"}])

    async def work(worker: Worker) -> None:
        first = asyncio.create_task(worker.ask(name))
        await asyncio.to_thread(daemon.wait_for_call, name)
        waiting = asyncio.create_task(worker.ask(name))
        last = asyncio.create_task(worker.ask(name))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        first.cancel()
        assert await last == "second"

    run(daemon, work, max_connections=1)

    assert len(daemon.calls(name)) == 2


def test_a_bounded_wait_for_a_turn_ends_in_an_error(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"hang": True}])

    async def work(worker: Worker) -> None:
        first = asyncio.create_task(worker.ask(name))
        await asyncio.to_thread(daemon.wait_for_call, name)
        with pytest.raises(PluginDaemonTimeoutError, match=r"in use for 0\.1 seconds") as caught:
            await worker.ask(name)
        assert caught.value.phase == "pool"
        first.cancel()

    run(daemon, work, max_connections=1, pool_timeout=0.1)


def test_a_failed_call_gives_its_turn_back(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"status": 500}], [{"abort": True}], [{"write": "garbage\n"}, {"hang": True}], [{"text": "x"}])

    async def work(worker: Worker) -> None:
        for _ in range(3):
            with pytest.raises(PluginDaemonError):
                await worker.ask(name)
        assert await worker.ask(name) == "x"

    run(daemon, work, max_connections=1)


def test_many_streams_go_on_at_once(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"stream": {"chunks": 40, "rate": 100, "text": "word "}}])

    async def work(worker: Worker) -> None:
        answers = await asyncio.gather(*(worker.ask(name) for _ in range(100)))
        assert set(answers) == {"word " * 40}

    run(daemon, work)

    calls = daemon.calls(name)
    last_began = max(call["began_at"] for call in calls)
    assert sum(call["began_at"] + call["open_seconds"] > last_began for call in calls) > 10


# Time limits.


def test_a_silent_daemon_runs_into_the_read_timeout(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "hello"}, {"hang": True}])

    error = failure_of(daemon, name, read_timeout=0.3)

    assert isinstance(error, PluginDaemonTimeoutError)
    assert isinstance(error, ModelTimeoutError)
    assert error.daemon_message == "the plugin daemon sent nothing for too long"
    assert daemon.wait_until_ended(name)["closed_by_client"]


def test_a_time_limit_of_0_is_no_limit(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "hello", "pause": 0.2}, FINISH])

    async def work(worker: Worker) -> None:
        assert set(await asyncio.gather(worker.ask(name), worker.ask(name))) == {"hello"}

    run(
        daemon,
        work,
        connect_timeout=0,
        read_timeout=0,
        write_timeout=0,
        pool_timeout=0,
        max_connections=1,
        max_keepalive_connections=0,
        keepalive_expiry=0,
    )


# Failures.


def test_a_rejected_daemon_key_is_reported(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "hello"}])

    error = failure_of(daemon, name, api_key=SecretStr("wrong-key"))

    assert isinstance(error, PluginDaemonError)
    assert isinstance(error, ModelAuthenticationError)
    assert (error.error_type, error.daemon_message) == ("PluginDaemonUnauthorizedError", "unauthorized")


@pytest.mark.parametrize(
    ("status", "body", "category", "error_type", "message"),
    [
        (
            404,
            {"code": -404, "message": '{"error_type":"PluginNotFoundError","message":"no plugin"}', "data": None},
            ModelNotFoundError,
            "PluginNotFoundError",
            "no plugin",
        ),
        (429, "", ModelRateLimitError, "InvokeRateLimitError", "the plugin daemon answered with HTTP status 429"),
        (502, "<html>", ModelServerError, None, "the plugin daemon answered with HTTP status 502"),
        (302, "", ModelHTTPError, None, "the plugin daemon answered with HTTP status 302"),
        (
            400,
            {"code": -400, "message": '{"error_type":"InvokeRateLimitError","message":"slow"}'},
            ModelHTTPError,
            "InvokeRateLimitError",
            "slow",
        ),
    ],
)
def test_an_http_refusal_is_reported(
    daemon: ScriptedDaemon, name: str, status: int, body: Any, category: type, error_type: str | None, message: str
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    daemon.script(name, [{"status": status, "body": text, "headers": {"Location": "/elsewhere", "Retry-After": "2"}}])

    error = failure_of(daemon, name)

    assert isinstance(error, PluginDaemonError)
    assert isinstance(error, ModelHTTPError)
    assert isinstance(error, category)
    assert (error.status_code, error.error_type, error.daemon_message) == (status, error_type, message)
    assert error.retry_after == 2


def test_a_failure_of_the_plugin_is_unwrapped(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(
        name,
        [{"text": "hel"}, {"error": {"error_type": "InvokeRateLimitError", "message": "slow down", "wrap": 2}}],
    )

    error = failure_of(daemon, name)

    assert isinstance(error, PluginDaemonError)
    assert isinstance(error, ModelRateLimitError)
    assert (error.error_type, error.daemon_message) == ("InvokeRateLimitError", "slow down")


def test_a_failure_in_the_setup_is_a_user_error(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"error": {"error_type": "EndpointSetupFailedError", "message": "no endpoint"}}])

    assert isinstance(failure_of(daemon, name), UserError)


def test_no_key_is_echoed(daemon: ScriptedDaemon, name: str) -> None:
    told = f"Incorrect API key provided: {PROVIDER_KEY} ({daemon.api_key})"
    daemon.script(name, [{"error": {"error_type": "InvokeAuthorizationError", "message": told, "wrap": 1}}])

    error = failure_of(daemon, name)

    assert isinstance(error, PluginDaemonError)
    assert error.daemon_message == "Incorrect API key provided: [REDACTED] ([REDACTED])"


@pytest.mark.parametrize(
    ("steps", "error_class"),
    [
        ([{"write": "garbage\n"}, {"hang": True}], PluginDaemonProtocolError),
        ([{"write": 'data: {"code":0,"message":"","data":null}\n\n'}, {"hang": True}], PluginDaemonProtocolError),
        ([{"text": "hello"}, {"write": 'data: {"code":0,"da'}], PluginDaemonProtocolError),
        ([{"write_hex": "646174613a20ff0a"}, {"hang": True}], PluginDaemonProtocolError),
        ([], PluginDaemonProtocolError),
        ([{"abort": True}], PluginDaemonConnectionError),
        ([{"text": "hello"}, {"abort": True}], PluginDaemonConnectionError),
        ([{"status": 200, "body": ""}], PluginDaemonProtocolError),
    ],
)
def test_a_malformed_answer_ends_the_call_with_a_short_error(
    daemon: ScriptedDaemon, name: str, steps: list[Step], error_class: type[Exception]
) -> None:
    daemon.script(name, steps)

    error = failure_of(daemon, name)

    assert isinstance(error, error_class)
    assert isinstance(error, ModelAPIError)
    assert "plugin daemon" in str(error)
    assert len(str(error)) < 100


def test_a_stream_without_a_finish_reason_is_an_answer(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"text": "hello"}])

    async def work(worker: Worker) -> None:
        assert await worker.ask(name) == "hello"

    run(daemon, work)


def test_an_unreachable_daemon_is_reported(daemon: ScriptedDaemon, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        error = failure_of(daemon, name, base_url=f"http://127.0.0.1:{port}/")

    assert isinstance(error, PluginDaemonConnectionError)
    assert isinstance(error, ModelConnectionError)
    assert (error.phase, str(error)) == ("connect", "the plugin daemon cannot be reached")


# The client.


def test_proxies_of_the_environment_are_ignored(
    daemon: ScriptedDaemon, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    daemon.script(name, [{"text": "hello"}])

    async def work(worker: Worker) -> None:
        assert await worker.ask(name) == "hello"

    run(daemon, work)


def test_a_cookie_of_one_call_does_not_travel_with_the_next(daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [{"status": 500, "headers": {"Set-Cookie": "tenant=a; Path=/"}}], [{"text": "hello"}])

    async def work(worker: Worker) -> None:
        with pytest.raises(ModelServerError):
            await worker.ask(name)
        await worker.ask(name)

    run(daemon, work)

    assert "cookie" not in daemon.calls(name)[1]["headers"]


def test_a_closed_client_makes_no_calls(daemon: ScriptedDaemon, name: str) -> None:
    async def work(worker: Worker) -> None:
        await worker.client.aclose()
        with pytest.raises(RuntimeError, match="client is closed"):
            await worker.ask(name)

    run(daemon, work)
