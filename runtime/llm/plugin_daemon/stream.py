"""The answer of a model, as Pydantic AI's stream events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
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
from runtime.llm.plugin_daemon.thinking import Segment, ThinkTagParser
from runtime.llm.plugin_daemon.tool_calls import ToolCallAssembler, ToolCallEdit
from runtime.llm.plugin_daemon.wire import Chunk, ReportedFailure, WireError
from runtime.llm.usage import ModelUsage

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
    _thinking: ThinkTagParser = field(default_factory=ThinkTagParser, init=False)
    _tool_calls: ToolCallAssembler = field(default_factory=ToolCallAssembler, init=False)
    _last_usage: ModelUsage | None = field(default=None, init=False)
    _has_chunks: bool = field(default=False, init=False)
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
            raise self._failures.protocol(str(error)) from None
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
        if isinstance(chunk.content, str):
            yield from self._text_events(self._thinking.feed(chunk.content))
        else:
            for part in chunk.content:
                yield from self._part_events(part)
        if chunk.tool_calls:
            yield from self._text_events(self._thinking.flush())
            for edit in self._tool_calls.feed(chunk.tool_calls):
                yield from self._tool_call_events(edit)

    def _end_events(self) -> Iterator[ModelResponseStreamEvent]:
        if not self._has_chunks:
            raise WireError("the plugin daemon's answer is empty")
        yield from self._text_events(self._thinking.flush())
        self._tool_calls.end()

    def _text_events(self, segments: Iterable[Segment]) -> Iterator[ModelResponseStreamEvent]:
        for segment in segments:
            if segment.is_thinking:
                yield from self._parts_manager.handle_thinking_delta(vendor_part_id=None, content=segment.text)
            else:
                yield from self._parts_manager.handle_text_delta(vendor_part_id=None, content=segment.text)

    def _part_events(self, part: Any) -> Iterator[ModelResponseStreamEvent]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(text := part.get("data"), str):
            yield from self._text_events(self._thinking.feed(text))
        elif kind in FILE_KINDS:
            yield from self._text_events(self._thinking.flush())
            yield self._parts_manager.handle_part(vendor_part_id=None, part=answered_file(part))
        else:
            raise WireError("a frame of the plugin daemon's answer has a malformed content")

    def _tool_call_events(self, edit: ToolCallEdit) -> Iterator[ModelResponseStreamEvent]:
        if edit.replaces:
            yield self._parts_manager.handle_tool_call_part(
                vendor_part_id=edit.key, tool_name=edit.name, args=edit.arguments, tool_call_id=edit.id
            )
            return
        yield from self._parts_manager.handle_tool_call_delta_events(
            vendor_part_id=edit.key,
            tool_name=edit.name or None,
            args=edit.arguments,
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
