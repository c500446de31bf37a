"""The answer of a model, as Pydantic AI's stream events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import httpx2
from pydantic_ai.messages import FinishReason, ModelResponseStreamEvent
from pydantic_ai.models import StreamedResponse
from pydantic_ai.usage import RequestUsage

from runtime.llm.plugin_daemon.body import BodyReader
from runtime.llm.plugin_daemon.content import FILE_KINDS, answered_file
from runtime.llm.plugin_daemon.failures import Failures
from runtime.llm.plugin_daemon.lines import LineBatches
from runtime.llm.plugin_daemon.merging import read_lines, read_lines_merged
from runtime.llm.plugin_daemon.wire import Chunk, ReportedFailure
from runtime.llm.usage import ModelUsage
from runtime.llm.wire.answer import cut_off_call
from runtime.llm.wire.errors import FailedAnswer, IncompleteAnswer, WireError
from runtime.llm.wire.surrogates import SurrogateJoiner
from runtime.llm.wire.text import AnswerText
from runtime.llm.wire.tool_calls import ToolCallAssembler, ToolCallEdit

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "error": "error",
    "tool_call": "tool_call",
    "tool_calls": "tool_call",
    "function_call": "tool_call",
    "function_calls": "tool_call",
}


@dataclass
class PluginDaemonStreamedResponse(StreamedResponse):
    """One model call's answer. ``on_usage`` hears the call's usage once, when the stream ends, if it is known."""

    _model_name: str
    _provider_name: str
    _provider_url: str
    _body: BodyReader
    _failures: Failures
    _on_usage: Callable[[ModelUsage], None]
    _merges_text: bool = False
    _timestamp: datetime = field(default_factory=lambda: datetime.now(UTC), init=False)
    _texts: SurrogateJoiner = field(default_factory=SurrogateJoiner, init=False)
    _tool_calls: ToolCallAssembler = field(default_factory=ToolCallAssembler, init=False)
    _last_usage: ModelUsage | None = field(default=None, init=False)
    _has_chunks: bool = field(default=False, init=False)
    _is_whole: bool = field(default=False, init=False)
    # Says to the base class that a plugin may report no usage at all.
    _usage_received: bool | None = field(default=False, init=False)

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        try:
            read = read_lines_merged if self._merges_text else read_lines
            async for lines in LineBatches(self._body):
                for chunk in read(lines):
                    for event in self._events(chunk):
                        yield event
            for event in self._end_events():
                yield event
        except WireError as error:
            raise self._failures.unusable(error) from None
        except httpx2.HTTPError as error:
            raise self._failures.broken(error, answered=True) from error
        self.report_usage()

    def report_usage(self) -> None:
        """Tell the usage of a stream that has ended. Safe to repeat."""
        usage, self._last_usage = self._last_usage, None
        if usage is not None:
            self._on_usage(usage)

    async def close_stream(self) -> None:
        """Close the connection at once, wherever the stream is."""
        await self._body.aclose()

    def _events(self, chunk: Chunk | ReportedFailure) -> Iterator[ModelResponseStreamEvent]:
        if isinstance(chunk, ReportedFailure):
            raise self._failures.reported(chunk.message)
        return self._chunk_events(chunk)

    def _chunk_events(self, chunk: Chunk) -> Iterator[ModelResponseStreamEvent]:
        self._has_chunks = True
        if chunk.usage is not None:
            self._last_usage = chunk.usage
            self._add_usage(_request_usage(chunk.usage), reported=True, cumulative=True)
        if chunk.finish_reason:
            self.finish_reason = FINISH_REASONS.get(chunk.finish_reason.lower(), "error")
            self.provider_details = {"finish_reason": chunk.finish_reason}
        # A plugin need not say either: the end of the body is all the daemon's protocol has for an end.
        self._is_whole = self.finish_reason is not None or chunk.usage is not None
        if isinstance(chunk.content, str):
            yield from self._text_events(chunk.content)
        else:
            for part in chunk.content:
                yield from self._part_events(part)
        if chunk.tool_calls:
            yield from self._text.flush()
            for edit in self._tool_calls.feed(chunk.tool_calls):
                yield from self._tool_call_events(edit)
        if chunk.finish_reason and chunk.finish_reason.lower() == "error":
            raise FailedAnswer("the model failed while it was answering")

    def _end_events(self) -> Iterator[ModelResponseStreamEvent]:
        if not self._has_chunks:
            raise WireError("the plugin daemon's answer is empty")
        for channel, half in self._texts.rest().items():
            if channel is None:
                yield from self._text.feed(half)
            else:
                yield from self._parts_manager.handle_tool_call_delta_events(vendor_part_id=channel, args=half)
        yield from self._text.flush()
        self._tool_calls.end()
        if self._tool_calls.are_cut_off and not self._is_whole:
            raise IncompleteAnswer("the plugin daemon's answer ended inside a tool call")
        yield from cut_off_call(self.finish_reason, self._parts_manager)

    @cached_property
    def _text(self) -> AnswerText:
        return AnswerText(self._parts_manager)

    def _text_events(self, text: str) -> Iterator[ModelResponseStreamEvent]:
        return self._text.feed(self._texts.feed(None, text))

    def _part_events(self, part: Any) -> Iterator[ModelResponseStreamEvent]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(text := part.get("data"), str):
            yield from self._text_events(text)
        elif kind in FILE_KINDS:
            yield from self._text.flush()
            yield self._parts_manager.handle_part(vendor_part_id=None, part=answered_file(part))
        else:
            raise WireError("a frame of the plugin daemon's answer has a malformed content")

    def _tool_call_events(self, edit: ToolCallEdit) -> Iterator[ModelResponseStreamEvent]:
        arguments = self._texts.feed(edit.key, edit.arguments, is_json=True)
        if edit.replaces:
            yield self._parts_manager.handle_tool_call_part(
                vendor_part_id=edit.key, tool_name=edit.name, args=arguments, tool_call_id=edit.id
            )
            return
        yield from self._parts_manager.handle_tool_call_delta_events(
            vendor_part_id=edit.key,
            tool_name=edit.name or None,
            args=arguments,
            tool_call_id=edit.id or None,
        )

    @property
    def model_name(self) -> str:
        return self._model_name

    @property
    def provider_name(self) -> str:
        return self._provider_name

    @property
    def provider_url(self) -> str:
        return self._provider_url

    @property
    def timestamp(self) -> datetime:
        return self._timestamp


def _request_usage(usage: ModelUsage) -> RequestUsage:
    # The library guesses the cost when nobody tells it.
    cost = usage.total_price if usage.total_price and usage.currency == "USD" else None
    return RequestUsage(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens, cost=cost)
