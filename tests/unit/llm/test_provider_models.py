"""Direct providers over real HTTP, each in its own wire format, against a scripted server."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import AgentStreamEvent, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.run import AgentRunResult
from pydantic_ai.settings import ModelSettings

from runtime.llm.providers import ModelTarget, ProviderClient, ProviderError, build_model
from runtime.llm.providers.target import NO_KEY
from runtime.llm.usage import ModelUsage, UsageLedger
from tests.support.openai_server import USAGE, running_openai_server
from tests.support.plugin_daemon import ScriptedDaemon, Step
from tests.support.provider_wires import ANTHROPIC, GOOGLE, HELLO, RESPONSES, event

KEY = "sk-canary-7f3a9"
PROVIDERS_TEXT = "what-the-provider-wrote"
SERVER_VARIABLES = {
    "OPENAI_API_KEY": "env-canary-1",
    "OPENAI_ADMIN_KEY": "env-canary-2",
    "OPENAI_ORG_ID": "env-canary-3",
    "OPENAI_PROJECT_ID": "env-canary-4",
    "OPENAI_CUSTOM_HEADERS": "X-Env: env-canary-5",
    "OPENAI_BASE_URL": "http://env-canary-6.invalid/v1",
    "ANTHROPIC_API_KEY": "env-canary-7",
    "ANTHROPIC_AUTH_TOKEN": "env-canary-8",
    "ANTHROPIC_CUSTOM_HEADERS": "X-Env: env-canary-9",
    "ANTHROPIC_BASE_URL": "http://env-canary-10.invalid",
    "GOOGLE_API_KEY": "env-canary-11",
    "GEMINI_API_KEY": "env-canary-12",
    "GOOGLE_GEMINI_BASE_URL": "http://env-canary-13.invalid",
    "GOOGLE_CLOUD_PROJECT": "env-canary-14",
    "GOOGLE_GENAI_USE_VERTEXAI": "true",
    "HTTP_PROXY": "http://env-canary-15.invalid",
    "ALL_PROXY": "http://env-canary-16.invalid",
}


WIRES = {
    "openai": ("/v1", "/v1/chat/completions", HELLO),
    "openai-responses": ("/v1", "/v1/responses", RESPONSES),
    "anthropic": ("", "/v1/messages", ANTHROPIC),
    "google": ("", "/v1beta/models/{name}:streamGenerateContent?alt=sse", GOOGLE),
}


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedDaemon]:
    with running_openai_server() as server:
        yield server


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model name of the test's own, so that no two tests share a script."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


@dataclass
class Told:
    """What a run told: its result or its error, and its text as it came."""

    text: str = ""
    result: AgentRunResult[str] | None = None
    error: Exception | None = None
    usage: UsageLedger = field(default_factory=UsageLedger)

    @property
    def failure(self) -> ProviderError:
        assert isinstance(self.error, ProviderError), self.error
        assert PROVIDERS_TEXT not in str(self.error)
        return self.error

    @property
    def total(self) -> ModelUsage:
        total = self.usage.total()
        assert total is not None
        return total


def ask(*targets: ModelTarget, allow_private: bool = True, tools: tuple[Any, ...] = (), **times: Any) -> Told:
    """One run of an agent on these models, streamed."""
    told = Told()

    async def listen(_: RunContext[None], events: AsyncIterable[AgentStreamEvent]) -> None:
        async for happened in events:
            match happened:
                case PartStartEvent(part=TextPart(content=text)) | PartDeltaEvent(delta=TextPartDelta(text)):
                    told.text += text

    async def main() -> None:
        client = ProviderClient(allow_private=allow_private, **times)
        agent: Agent[None, str] = Agent(tools=tools)
        try:
            told.result = await agent.run(
                "hi", model=build_model(targets, client, told.usage), event_stream_handler=listen
            )
        except Exception as error:
            told.error = error
        finally:
            await client.aclose()

    asyncio.run(main())
    return told


def local(server: ScriptedDaemon, name: str, **rest: Any) -> ModelTarget:
    return ModelTarget(f"openai:{name}", base_url=f"{server.url}/v1", compatibility="openai", **rest)


# Every wire


@pytest.mark.parametrize("prefix", WIRES)
def test_a_model_streams_its_answer_in_its_providers_wire_format(
    provider: ScriptedDaemon, name: str, prefix: str
) -> None:
    base, path, script = WIRES[prefix]
    provider.script(name, script)

    target = ModelTarget(f"{prefix}:{name}", provider.url + base, SecretStr(KEY), compatibility="openai")
    told = ask(target)

    assert told.error is None
    assert told.result is not None
    assert told.result.output == told.text == "Hello there"
    assert (told.total.prompt_tokens, told.total.completion_tokens, told.total.total_tokens) == (7, 5, 12)
    assert told.total.latency > 0
    [call] = provider.calls(name)
    assert call["path"] == path.format(name=name)
    assert KEY in {call["headers"].get("x-goog-api-key"), call["headers"].get("authorization", "")[len("Bearer ") :]}


@pytest.mark.parametrize("prefix", WIRES)
@pytest.mark.parametrize("key", [KEY, None])
def test_nothing_of_the_servers_environment_is_sent(
    provider: ScriptedDaemon, name: str, prefix: str, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in SERVER_VARIABLES.items():
        monkeypatch.setenv(variable, value)
    base, _, script = WIRES[prefix]
    provider.script(name, script)

    told = ask(ModelTarget(f"{prefix}:{name}", provider.url + base, SecretStr(key) if key else None))

    assert told.text == "Hello there"
    [call] = provider.calls(name)
    assert "env-canary" not in json.dumps(call)
    assert (key or NO_KEY) in json.dumps(call["headers"])


@pytest.mark.parametrize(
    ("model", "address"),
    [
        ("openai:gpt-5", "https://api.openai.com/v1/"),
        ("openai-responses:gpt-5", "https://api.openai.com/v1/"),
        ("anthropic:claude-sonnet-5", "https://api.anthropic.com"),
        ("google:gemini-3-pro", "https://generativelanguage.googleapis.com/"),
    ],
)
def test_without_a_base_url_the_providers_own_api_is_called(
    model: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in SERVER_VARIABLES.items():
        monkeypatch.setenv(variable, value)

    built = build_model([ModelTarget(model, api_key=SecretStr(KEY))], ProviderClient(), UsageLedger())

    assert built.base_url == address
    assert built.model_name == model.partition(":")[2]


@pytest.mark.parametrize("prefix", WIRES)
def test_a_name_that_turns_out_to_be_private_is_never_connected_to(
    provider: ScriptedDaemon, name: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, _, script = WIRES[prefix]
    provider.script(name, script)

    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", provider.port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    target = ModelTarget(f"{prefix}:{name}", base_url=f"http://models.example.com:{provider.port}{base}")

    told = ask(target, local(provider, name), allow_private=False)

    assert told.failure.reason == "base_url_not_allowed"
    assert provider.calls(name) == []


@pytest.mark.parametrize("prefix", WIRES)
def test_a_redirect_is_not_followed(provider: ScriptedDaemon, name: str, prefix: str) -> None:
    base, _, script = WIRES[prefix]
    provider.script(name + "-target", script)
    location = f"{provider.url}/v1beta/models/{name}-target:streamGenerateContent"
    provider.script(name, [{"status": 307, "body": PROVIDERS_TEXT, "headers": {"Location": location}}])

    told = ask(ModelTarget(f"{prefix}:{name}", base_url=provider.url + base))

    assert told.failure.reason in {"model_protocol_error", "model_request_rejected"}
    assert len(provider.calls(name)) == 1
    assert provider.calls(name + "-target") == []


@pytest.mark.parametrize("prefix", WIRES)
@pytest.mark.parametrize(
    ("status", "reason", "passes_on"),
    [
        (400, "model_request_rejected", False),
        (401, "model_credentials_refused", False),
        (404, "model_not_found", False),
        (429, "model_rate_limited", True),
        (500, "model_server_error", True),
        (503, "model_unavailable", True),
    ],
)
def test_an_http_status_becomes_our_own_message_and_is_not_retried(
    provider: ScriptedDaemon, name: str, prefix: str, status: int, reason: str, passes_on: bool
) -> None:
    base, _, _ = WIRES[prefix]
    body = {"type": "error", "error": {"type": "scripted", "message": PROVIDERS_TEXT, "code": None}}
    provider.script(name, [{"status": status, "body": body, "headers": {"Retry-After": "7"}}])

    told = ask(ModelTarget(f"{prefix}:{name}", provider.url + base, SecretStr(KEY)))

    assert (told.failure.reason, told.failure.passes_on) == (reason, passes_on)
    assert str(told.failure).startswith(f"{prefix}:{name}: ")
    assert f"(status {status})" in str(told.failure)
    assert "asks to wait 7 seconds" in str(told.failure)
    assert len(provider.calls(name)) == 1
    assert told.usage.total() is None


# Chat Completions


def test_tool_calls_in_fragments_are_put_together(provider: ScriptedDaemon, name: str) -> None:
    calls = [
        {"tool_call": {"index": 0, "id": "call-1", "name": "add", "arguments": '{"a": 1, "b": 20}'}, "split": 3},
        {"tool_call": {"index": 1, "id": "call-2", "name": "add", "arguments": '{"a": 300, "b": 4000}'}, "split": 1},
    ]
    provider.script(name, [*calls, {"finish": "tool_calls", "usage": USAGE}], HELLO)

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    told = ask(local(provider, name), tools=(add,))

    assert told.error is None
    assert told.text == "Hello there"
    first, second = provider.calls(name)
    assert [tool["function"]["name"] for tool in first["body"]["tools"]] == ["add"]
    results = {item["tool_call_id"]: item["content"] for item in second["body"]["messages"] if item["role"] == "tool"}
    assert results == {"call-1": "21", "call-2": "4300"}
    assert (told.total.prompt_tokens, told.total.completion_tokens) == (14, 10)


def test_the_settings_are_sent_and_each_model_has_its_own(provider: ScriptedDaemon, name: str) -> None:
    provider.script(name + "-1", [{"status": 500}])
    provider.script(name + "-2", HELLO)
    first = ModelSettings(temperature=0.5, max_tokens=9, extra_body={"top_k": 3}, extra_headers={"X-Mine": "yes"})

    ask(local(provider, name + "-1", settings=first), local(provider, name + "-2", settings={"seed": 4}))

    [call], [fallback] = provider.calls(name + "-1"), provider.calls(name + "-2")
    assert call["body"] | {"temperature": 0.5, "max_completion_tokens": 9, "top_k": 3} == call["body"]
    assert call["headers"]["x-mine"] == "yes"
    assert fallback["body"]["seed"] == 4
    assert not {"temperature", "max_completion_tokens", "top_k"} & set(fallback["body"])
    assert "x-mine" not in fallback["headers"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([{"text": "Hel"}, {"abort": True}], "model_connection_lost"),
        ([{"text": "Hel"}, {"end": True}], "model_stream_incomplete"),
        ([{"text": "Hel"}, {"write": "data: <html>\n\n"}], "model_protocol_error"),
        (
            [{"text": "Hel"}, {"write": f'data: {{"error": {{"message": "{PROVIDERS_TEXT}"}}}}\n\n'}],
            "model_protocol_error",
        ),
        (
            [{"text": "Hel"}, {"write": f'data: {{"error": {{"message": "{PROVIDERS_TEXT}", "code": 503}}}}\n\n'}],
            "model_unavailable",
        ),
        ([{"text": "Hel"}, {"hang": True}], "model_timeout"),
    ],
    ids=["cut", "ended without a finish", "no JSON", "error in the stream", "503 in the stream", "silence"],
)
def test_a_failure_after_the_first_text_is_final(
    provider: ScriptedDaemon, name: str, answer: list[Step], reason: str
) -> None:
    provider.script(name, answer)
    provider.script(name + "-fallback", HELLO)

    told = ask(local(provider, name), local(provider, name + "-fallback"), read_timeout=1)

    assert told.failure.reason == reason
    assert told.text == "Hel"
    assert provider.calls(name + "-fallback") == []


# Fallbacks


@pytest.mark.parametrize(
    "answer",
    [
        [{"status": 429, "body": {"error": {"message": "slow down"}}, "headers": {"Retry-After": "3600"}}],
        [{"status": 408}],
        [{"status": 500}],
        [{"status": 529}],
        [{"abort": True}],
        [{"write": 'data: {"error": {"message": "overloaded", "code": 503}}\n\n'}],
        [{"silence": True}],
        [{"hang": True}],
    ],
    ids=["429", "408", "500", "529", "cut", "503 in the stream", "no answer", "no text"],
)
def test_a_model_that_fails_before_its_first_text_passes_on(
    provider: ScriptedDaemon, name: str, answer: list[Step]
) -> None:
    provider.script(name, answer)
    provider.script(name + "-fallback", HELLO)

    told = ask(local(provider, name), local(provider, name + "-fallback"), read_timeout=1)

    assert told.error is None
    assert told.text == "Hello there"
    assert len(provider.calls(name)) == len(provider.calls(name + "-fallback")) == 1
    assert (told.total.prompt_tokens, told.total.completion_tokens) == (7, 5)
    assert told.result is not None
    assert told.result.usage.requests == 1


def test_a_model_that_cannot_be_reached_passes_on(provider: ScriptedDaemon, name: str) -> None:
    provider.script(name, HELLO)

    told = ask(ModelTarget("openai:nowhere", base_url="http://127.0.0.1:9/v1"), local(provider, name))

    assert told.text == "Hello there"


def test_models_are_tried_in_order_until_one_answers(provider: ScriptedDaemon, name: str) -> None:
    names = [f"{name}-{number}" for number in range(4)]
    for failing in names[:2]:
        provider.script(failing, [{"status": 503}])
    for answering in names[2:]:
        provider.script(answering, HELLO)

    told = ask(*(local(provider, each) for each in names))

    assert told.text == "Hello there"
    began = [provider.calls(each)[0]["began_at"] for each in names[:3]]
    assert began == sorted(began)
    assert provider.calls(names[3]) == []


def test_models_of_several_providers_can_stand_in_for_each_other(provider: ScriptedDaemon, name: str) -> None:
    provider.script(name, [{"status": 429}])
    provider.script(name + "-claude", [{"status": 529}])
    provider.script(name + "-gemini", GOOGLE)

    told = ask(
        local(provider, name),
        ModelTarget(f"anthropic:{name}-claude", base_url=provider.url),
        ModelTarget(f"google:{name}-gemini", base_url=provider.url),
    )

    assert told.error is None
    assert told.text == "Hello there"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_failure_that_another_model_would_not_mend_is_final(provider: ScriptedDaemon, name: str, status: int) -> None:
    provider.script(name, [{"status": status}])
    provider.script(name + "-fallback", HELLO)

    told = ask(local(provider, name), local(provider, name + "-fallback"))

    assert f"(status {status})" in str(told.failure)
    assert provider.calls(name + "-fallback") == []


def test_when_all_fail_each_is_named_and_the_last_gives_the_reason(provider: ScriptedDaemon, name: str) -> None:
    provider.script(name + "-1", [{"status": 429, "body": PROVIDERS_TEXT}])
    provider.script(name + "-2", [{"status": 500, "body": PROVIDERS_TEXT}])

    told = ask(local(provider, name + "-1"), local(provider, name + "-2"))

    assert str(told.failure) == (
        f"all models failed: openai:{name}-1: the provider takes no more calls for now (status 429); "
        f"openai:{name}-2: the provider failed (status 500)"
    )
    assert told.failure.reason == "model_server_error"


def test_tokens_that_a_failed_model_has_reported_are_counted_too(provider: ScriptedDaemon, name: str) -> None:
    overloaded = event({"type": "error", "error": {"type": "overloaded_error", "message": PROVIDERS_TEXT}})
    provider.script(name, [ANTHROPIC[0], overloaded])
    provider.script(name + "-fallback", HELLO)

    told = ask(ModelTarget(f"anthropic:{name}", base_url=provider.url), local(provider, name + "-fallback"))

    assert told.text == "Hello there"
    assert (told.total.prompt_tokens, told.total.completion_tokens) == (14, 6)


def test_every_request_of_a_run_begins_with_the_first_model(provider: ScriptedDaemon, name: str) -> None:
    call = {"tool_call": {"id": "call-1", "name": "now", "arguments": "{}"}}
    provider.script(name, [{"status": 503}], HELLO)
    provider.script(name + "-fallback", [call, {"finish": "tool_calls", "usage": USAGE}])

    def now() -> str:
        """Tell the time."""
        return "noon"

    told = ask(local(provider, name), local(provider, name + "-fallback"), tools=(now,))

    assert told.text == "Hello there"
    assert len(provider.calls(name)) == 2
    assert len(provider.calls(name + "-fallback")) == 1
    assert told.total.total_tokens == 24


# The packages


def test_importing_the_application_imports_no_providers_package() -> None:
    program = (
        "import sys, app, runtime.runtime, runtime.layers.registry, runtime.execution.runner\n"
        "print(*({'openai', 'anthropic', 'google.genai'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == ""


def test_a_closed_client_makes_no_call() -> None:
    client = ProviderClient()
    asyncio.run(client.aclose())

    with pytest.raises(RuntimeError, match="closed"):
        build_model([ModelTarget("openai:gpt-5", api_key=SecretStr(KEY))], client, UsageLedger())
