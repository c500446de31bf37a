"""``greenrun.demo_llm``, through a real Pydantic AI agent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelAPIError
from pydantic_ai.messages import AgentStreamEvent, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.run import AgentRunResult

from runtime.composition.layer import NoState
from runtime.layers.demo_llm import DemoLlmConfig, DemoLlmLayer
from runtime.llm.clients import ModelClients
from runtime.llm.plugin_daemon import PluginDaemonClient
from runtime.llm.usage import UsageLedger


class Told:
    """What a run of the demo model came to."""

    def __init__(self) -> None:
        self.events: list[AgentStreamEvent] = []
        self.usage = UsageLedger()
        self.result: AgentRunResult[str] | None = None

    @property
    def output(self) -> str:
        assert self.result is not None
        return self.result.output

    @property
    def kinds(self) -> list[str]:
        return [event.event_kind for event in self.events]

    @property
    def text(self) -> str:
        """The streamed text, put together."""
        return "".join(_text_of(event) for event in self.events)


def _text_of(event: AgentStreamEvent) -> str:
    match event:
        case PartStartEvent(part=TextPart(content=text)) | PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            return text
    return ""


def run(prompt: str | list[str] = "Hello there", told: Told | None = None, **config: Any) -> Told:
    """Run the demo model once with a config."""
    told = told or Told()
    layer = DemoLlmLayer("llm", DemoLlmConfig.model_validate(config), NoState())

    async def note(_: Any, events: Any) -> None:
        async for event in events:
            told.events.append(event)

    async def scenario() -> None:
        client = PluginDaemonClient(
            base_url="http://127.0.0.1:9",
            api_key=SecretStr(""),
            connect_timeout=1,
            read_timeout=1,
            write_timeout=1,
            pool_timeout=None,
            max_connections=1,
            max_keepalive_connections=0,
            keepalive_expiry=1,
        )
        clients = ModelClients(plugin_daemon=client)
        agent: Agent[None, str] = Agent()
        try:
            told.result = await agent.run(
                prompt,
                model=layer.create_model(clients, told.usage),
                toolsets=layer.toolsets(clients),
                event_stream_handler=note,
            )
        finally:
            await clients.aclose()

    asyncio.run(scenario())
    return told


def test_the_same_prompt_has_the_same_answer() -> None:
    assert run().output == run().output


def test_the_answer_quotes_the_prompt() -> None:
    assert "“Hello there”" in run("Hello there").output


def test_a_long_prompt_is_quoted_in_part() -> None:
    output = run("x" * 5000).output

    assert len(output) < 2000
    assert "…”" in output


def test_several_prompts_are_quoted_together() -> None:
    assert "“one two”" in run(["one", "two"]).output


def test_a_set_answer_is_given_word_for_word() -> None:
    answer = "  Two  words,\nand a third. "

    told = run(answer=answer)

    assert told.output.strip() == answer.strip()
    assert told.text.strip() == answer.strip()


def test_an_answer_of_n_words_has_n_plus_two_events() -> None:
    told = run(answer="one two three four")

    assert told.kinds == ["part_start", "final_result", "part_delta", "part_delta", "part_delta", "part_end"]


def test_what_it_used_is_in_the_ledger() -> None:
    total = run("one two three", answer="four five").usage.total()

    assert total is not None
    assert (total.prompt_tokens, total.completion_tokens, total.total_tokens) == (3, 2, 5)


def test_it_calls_a_tool_before_it_answers() -> None:
    told = run("one two three", call_tool="count_words")

    assert "function_tool_call" in told.kinds
    assert "function_tool_result" in told.kinds
    assert "The tool count_words said: 3." in told.output


def test_it_calls_a_tool_with_the_given_arguments() -> None:
    told = run("one", call_tool="count_words", tool_args={"text": "a b c d e"})

    assert "The tool count_words said: 5." in told.output


def test_it_fails_as_configured() -> None:
    told = Told()

    with pytest.raises(ModelAPIError, match="out of words"):
        run(told=told, answer="one two three", fail="out of words", fail_after=2)

    assert told.text == "one two"


def test_it_fails_at_the_end_when_the_answer_is_shorter() -> None:
    with pytest.raises(ModelAPIError, match="out of words"):
        run(answer="one", fail="out of words", fail_after=50)


def test_it_fails_at_once_by_default() -> None:
    told = Told()

    with pytest.raises(ModelAPIError, match="out of words"):
        run(told=told, fail="out of words")

    assert told.events == []


@pytest.mark.parametrize(
    "config",
    [{"delay_ms": -1}, {"delay_ms": 60_001}, {"fail_after": -1}, {"answer": 1}, {"tool_args": []}, {"model": "x"}],
)
def test_another_config_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DemoLlmConfig.model_validate(config)
