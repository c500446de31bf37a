"""What is sent to servers that take less than their API's owner does, and what of an odd answer is sent back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic_ai import Agent, ModelSettings
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

from runtime.llm.usage import UsageLedger
from tests.support.wires import frames
from tests.support.wires.frames import BEGINS, answer
from tests.support.wires.reading import ScriptedTransport, model_over
from tests.support.wires.shape import WIRES

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOL = ToolDefinition(name="get", description="Get it.", parameters_json_schema=SCHEMA, strict=True)
TALK: list[ModelMessage] = [
    ModelRequest(parts=[SystemPromptPart("Be brief."), SystemPromptPart("Be kind."), UserPromptPart("hi")])
]


def sent(
    wire: str, messages: Sequence[ModelMessage] = TALK, settings: ModelSettings | None = None, **target: Any
) -> dict[str, Any]:
    """The body of one request."""
    transport = ScriptedTransport([answer(wire, "ok")])
    model = model_over(wire, transport, UsageLedger(), **target)
    parameters = ModelRequestParameters(function_tools=[TOOL])

    async def ask() -> None:
        prepared = model.prepare_messages(list(messages))
        async with model.request_stream(prepared, settings, parameters) as stream:
            async for _ in stream:
                pass

    asyncio.run(ask())
    [request] = transport.requests
    return request


def said(wire: str, body: dict[str, Any]) -> list[Any]:
    """The conversation in a request."""
    inner = body.get("data", body)
    name = {"openai-responses": "input", "google": "contents", "plugin": "prompt_messages"}.get(wire, "messages")
    conversation: list[Any] = inner[name]
    return conversation


ASKED = ModelSettings(max_tokens=9)


@pytest.mark.parametrize("model", ["openai:llama", "openai:gpt-5", "openai:o3"])
def test_a_compatible_server_gets_what_all_of_them_take(model: str) -> None:
    body = sent("openai", settings=ASKED, model=model)

    assert body["max_tokens"] == 9
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][0]["content"] == "Be brief.\n\nBe kind."
    assert set(body) <= {"model", "messages", "stream", "max_tokens", "tools", "tool_choice"}
    [tool] = body["tools"]
    assert set(tool["function"]) == {"name", "description", "parameters"}


def test_a_compatible_server_gets_more_when_the_config_asks_for_it() -> None:
    settings = ModelSettings(parallel_tool_calls=False, extra_body={"stream_options": {"include_usage": True}})

    body = sent("openai", settings=settings)

    assert body["parallel_tool_calls"] is False
    assert body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    "target",
    [
        {"base_url": None},
        {"base_url": "https://api.openai.com/v1"},
        {"base_url": "https://eu.api.openai.com/v1"},
        {"base_url": "https://mine.openai.azure.com/openai/v1"},
        {"base_url": "https://models.example.com/v1", "compatibility": "openai"},
    ],
)
def test_openai_and_hosts_known_to_follow_it_get_everything(target: dict[str, Any]) -> None:
    body = sent("openai", settings=ASKED, **target)

    assert body["max_completion_tokens"] == 9
    assert body["stream_options"] == {"include_usage": True}
    assert [message["role"] for message in body["messages"]] == ["system", "system", "user"]
    assert body["tools"][0]["function"]["strict"] is True


@pytest.mark.parametrize("base_url", ["https://api.openai.com.example.com/v1", "https://openai.example.com/v1"])
def test_a_host_that_only_looks_like_openais_is_treated_as_any_server(base_url: str) -> None:
    assert "max_tokens" in sent("openai", settings=ASKED, base_url=base_url)


def test_a_config_may_treat_openais_own_api_as_any_server() -> None:
    body = sent("openai", settings=ASKED, base_url="https://api.openai.com/v1", compatibility="generic")

    assert body["max_tokens"] == 9
    assert "stream_options" not in body


def test_compatible_responses_get_no_field_of_openais_own() -> None:
    body = sent("openai-responses", settings=ASKED, model="openai-responses:gpt-5")

    assert set(body) <= {"model", "input", "instructions", "stream", "max_output_tokens", "tools", "tool_choice"}
    assert body["tools"][0].get("strict") in (None, False)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_answer_is_not_sent_back(wire: str, blank: str) -> None:
    talk = [*TALK, ModelResponse(parts=[TextPart(blank)]), ModelRequest(parts=[UserPromptPart("Well?")])]

    conversation = said(wire, sent(wire, talk))

    assert [item["role"] for item in conversation if item["role"] not in ("system", "user")] == []
    assert "Well?" in str(conversation[-1])


@pytest.mark.parametrize("wire", WIRES)
def test_a_blank_text_beside_another_is_not_sent_back(wire: str) -> None:
    parts = [TextPart("\n"), TextPart("Yes.")]
    talk = [*TALK, ModelResponse(parts=parts), ModelRequest(parts=[UserPromptPart("Well?")])]

    conversation = said(wire, sent(wire, talk))

    [told] = [item for item in conversation if item.get("role") in ("assistant", "model")]
    assert "\\n" not in repr(told)


CALL = frames.anthropic_call('{"a":1}', index=1) + frames.anthropic_end("tool_use")


def in_a_loop(first: bytes, **target: Any) -> list[Any]:
    """What is sent to an Anthropic server with the result of a tool that it called."""
    transport = ScriptedTransport([BEGINS["anthropic"] + first + CALL], [answer("anthropic", "done")])

    def get(a: int) -> int:
        """Get it."""
        return a

    agent: Agent[None, str] = Agent(model_over("anthropic", transport, UsageLedger(), **target), tools=[get])
    asyncio.run(agent.run("hi", event_stream_handler=_listen))
    content: list[Any] = transport.requests[1]["messages"][1]["content"]
    return content


async def _listen(_: Any, events: Any) -> None:
    async for _event in events:
        pass


def test_thinking_that_a_server_did_not_sign_is_sent_back_as_thinking() -> None:
    content = in_a_loop(frames.anthropic_thinking("why"))

    assert content[0] == {"type": "thinking", "thinking": "why", "signature": ""}
    assert content[1]["type"] == "tool_use"


def test_thinking_that_was_signed_is_sent_back_with_its_signature() -> None:
    deltas = ({"type": "thinking_delta", "thinking": "why"}, {"type": "signature_delta", "signature": "S"})
    block = frames.anthropic_block({"type": "thinking", "thinking": "", "signature": ""}, *deltas)

    assert in_a_loop(block)[0] == {"type": "thinking", "thinking": "why", "signature": "S"}


def test_anthropics_own_api_gets_no_thinking_without_a_signature() -> None:
    assert in_a_loop(frames.anthropic_thinking("why"), base_url=None)[0]["type"] == "text"


def test_thinking_of_another_server_is_sent_as_text() -> None:
    thought = ModelResponse(
        parts=[ThinkingPart("why", provider_name="anthropic"), TextPart("so")],
        provider_name="anthropic",
        provider_url="https://other.example.com",
    )
    talk = [*TALK, thought, ModelRequest(parts=[UserPromptPart("Well?")])]

    [told] = [item for item in said("anthropic", sent("anthropic", talk)) if item["role"] == "assistant"]

    assert {block["type"] for block in told["content"]} == {"text"}
