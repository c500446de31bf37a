"""The demo model: offline and deterministic. The same prompt gets the same answer, word by word."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.exceptions import ModelAPIError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponseStreamEvent,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from runtime.llm.usage import ModelUsage, UsageLedger

DEMO_MODEL_NAME = "demo"
MAX_QUOTED_CHARS = 400
_WORD = re.compile(r"\s*\S+")


class DemoFailure(ModelAPIError):
    """The failure that the demo model was told to show, with the text that it was told."""


@dataclass(frozen=True, slots=True)
class DemoScript:
    """What the demo model does. ``fail`` is the text of the error it raises after ``fail_after`` words."""

    answer: str | None = None
    delay_seconds: float = 0
    call_tool: str | None = None
    tool_args: Mapping[str, object] = field(default_factory=dict)
    fail: str | None = None
    fail_after: int = 0


class DemoModel(Model[None]):
    """Answers from its script and the conversation."""

    def __init__(self, script: DemoScript, usage: UsageLedger) -> None:
        super().__init__()
        self._script = script
        self._usage = usage

    @property
    def model_name(self) -> str:
        return DEMO_MODEL_NAME

    @property
    def system(self) -> str:
        return "greenrun"

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        async with self.request_stream(messages, model_settings, model_request_parameters) as stream:
            async for _ in stream:
                pass
            return stream.get()

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        _, parameters = self.prepare_request(model_settings, model_request_parameters)
        yield DemoResponse(
            model_request_parameters=parameters,
            script=self._script,
            messages=messages,
            ledger=self._usage,
        )


@dataclass
class DemoResponse(StreamedResponse):
    """One answer of the demo model, a word at a time."""

    script: DemoScript
    messages: list[ModelMessage]
    ledger: UsageLedger
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        results = _tool_results(self.messages)
        prompt = _last_prompt(self.messages)
        if self.script.call_tool is not None and not results:
            args = dict(self.script.tool_args) or {"text": prompt}
            yield self._parts_manager.handle_tool_call_part(
                vendor_part_id=None, tool_name=self.script.call_tool, args=args
            )
            self._count(prompt, words=1)
            self.finish_reason = "tool_call"
            return
        words = _WORD.findall(self._answer(prompt, results))
        for number, word in enumerate(words):
            self._fail_at(number)
            if self.script.delay_seconds:
                await asyncio.sleep(self.script.delay_seconds)
            for event in self._parts_manager.handle_text_delta(vendor_part_id="answer", content=word):
                yield event
        self._fail_at(max(len(words), self.script.fail_after))
        self._count(prompt, words=len(words))
        self.finish_reason = "stop"

    def _answer(self, prompt: str, results: list[ToolReturnPart]) -> str:
        if self.script.answer is not None:
            return self.script.answer
        quoted = prompt if len(prompt) <= MAX_QUOTED_CHARS else prompt[:MAX_QUOTED_CHARS] + "…"
        found = "".join(f" The tool {result.tool_name} said: {result.model_response_str()}." for result in results)
        return (
            f"This is Greenrun's demo model: it runs offline and always answers alike. "
            f"You asked: “{quoted}”.{found} Name a real model in a layer called llm to get a real answer."
        )

    def _fail_at(self, word: int) -> None:
        if self.script.fail is not None and word >= self.script.fail_after:
            raise DemoFailure(DEMO_MODEL_NAME, self.script.fail)

    def _count(self, prompt: str, *, words: int) -> None:
        prompt_words = len(prompt.split())
        self._usage = RequestUsage(input_tokens=prompt_words, output_tokens=words)
        self.ledger.add(
            ModelUsage(prompt_tokens=prompt_words, completion_tokens=words, total_tokens=prompt_words + words)
        )

    async def close_stream(self) -> None:
        """There is no connection to close."""

    @property
    def model_name(self) -> str:
        return DEMO_MODEL_NAME

    @property
    def provider_name(self) -> str:
        return "greenrun"

    @property
    def provider_url(self) -> None:
        return None

    @property
    def timestamp(self) -> datetime:
        return self.started_at


def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


def _last_prompt(messages: list[ModelMessage]) -> str:
    for message in reversed(messages):
        if isinstance(message, ModelRequest):
            for part in reversed(message.parts):
                if isinstance(part, UserPromptPart):
                    return _as_text(part)
    return ""


def _as_text(part: UserPromptPart) -> str:
    if isinstance(part.content, str):
        return part.content
    return " ".join(item for item in part.content if isinstance(item, str))


def _tool_results(messages: list[ModelMessage]) -> list[ToolReturnPart]:
    """The tool results since the last user prompt."""
    results: list[ToolReturnPart] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, UserPromptPart):
                results.clear()
            elif isinstance(part, ToolReturnPart):
                results.append(part)
    return results
