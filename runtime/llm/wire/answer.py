"""A provider's stream as a run gets it: thinking apart from text, and no call on arguments that were cut off."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import httpx2
from pydantic_ai._parts_manager import ModelResponsePartsManager
from pydantic_ai.exceptions import AgentRunError, UnexpectedModelBehavior
from pydantic_ai.messages import (
    FinishReason,
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import StreamedResponse
from pydantic_ai.usage import RequestUsage

from runtime.llm.wire.errors import WireError
from runtime.llm.wire.text import AnswerText
from runtime.protocol.wordless import wordless

logger = logging.getLogger(__name__)

CUT_OFF = "{"
"""Arguments that are no JSON, for a call that was cut off before its first: the model is told that they are cut."""


@dataclass
class AnswerStream(StreamedResponse):
    """The events of ``_stream``, mended. Raises WireError for what the provider's package cannot read."""

    _stream: StreamedResponse

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        async for event in _Readable(self._stream):
            for mended in self._mended(event):
                yield mended
        for mended in self._text.flush():
            yield mended
        for mended in cut_off_call(self._stream.finish_reason, self._parts_manager):
            yield mended

    def _mended(self, event: ModelResponseStreamEvent) -> Iterator[ModelResponseStreamEvent]:
        match event:
            case PartStartEvent(part=TextPart() as part):
                self._text.begin_part()
                details = {"id": part.id, "provider_name": part.provider_name, "citations": part.citations}
                yield from self._text.feed(part.content, provider_details=part.provider_details, **details)
            case PartStartEvent(index=index, part=part):
                yield from self._text.flush()
                yield self._parts_manager.handle_part(vendor_part_id=index, part=replace(part))
            case PartDeltaEvent(delta=TextPartDelta() as delta):
                yield from self._text_delta(delta)
            case PartDeltaEvent(index=index, delta=ThinkingPartDelta() as delta):
                yield from self._parts_manager.handle_thinking_delta(
                    vendor_part_id=index,
                    content=delta.content_delta,
                    signature=delta.signature_delta,
                    provider_name=delta.provider_name,
                    provider_details=delta.provider_details,
                )
            case PartDeltaEvent(index=index, delta=ToolCallPartDelta() as delta):
                yield from self._parts_manager.handle_tool_call_delta_events(
                    vendor_part_id=index,
                    tool_name=delta.tool_name_delta,
                    args=delta.args_delta,
                    tool_call_id=delta.tool_call_id,
                    provider_name=delta.provider_name,
                    provider_details=delta.provider_details,
                )

    def _text_delta(self, delta: TextPartDelta) -> Iterator[ModelResponseStreamEvent]:
        details: dict[str, Any] = {
            "provider_name": delta.provider_name,
            "provider_details": delta.provider_details,
            "citations": delta.citations_delta,
        }
        if delta.content_delta:
            yield from self._text.feed(delta.content_delta, **details)
        elif any(details.values()):
            yield from self._text.flush()
            parts = self._parts_manager.get_parts()
            if parts and isinstance(parts[-1], TextPart):
                yield from self._parts_manager.handle_text_delta(vendor_part_id=None, content="", **details)

    @cached_property
    def _text(self) -> AnswerText:
        return AnswerText(self._parts_manager)

    def __post_init__(self) -> None:
        self.canonical_system = self._stream.canonical_system

    def get(self) -> ModelResponse:
        """The answer so far."""
        answer = self._stream.get()
        metadata = {**(answer.metadata or {}), **(self.metadata or {})} or None
        return replace(
            answer,
            parts=self._parts_manager.get_parts(),
            metadata=metadata,
            failed_attempts=self.failed_attempts or answer.failed_attempts,
        )

    async def close_stream(self) -> None:
        """Close the connection at once, wherever the stream is."""
        await self._stream.cancel()

    @property
    def usage(self) -> RequestUsage:
        return self._stream.usage

    @property
    def model_name(self) -> str:
        return self._stream.model_name

    @property
    def provider_name(self) -> str | None:
        return self._stream.provider_name

    @property
    def provider_url(self) -> str | None:
        return self._stream.provider_url

    @property
    def timestamp(self) -> datetime:
        return self._stream.timestamp


class _Readable:
    """The events of a stream. What its package stumbles over is the answer's fault: it becomes a WireError."""

    def __init__(self, stream: StreamedResponse) -> None:
        self._events = aiter(stream)

    def __aiter__(self) -> AsyncIterator[ModelResponseStreamEvent]:
        return self

    async def __anext__(self) -> ModelResponseStreamEvent:
        try:
            return await anext(self._events)
        except UnexpectedModelBehavior:
            pass
        except (StopAsyncIteration, WireError, AgentRunError, httpx2.HTTPError, httpx2.StreamError):
            raise
        except Exception as error:
            logger.warning("the answer of a model cannot be read", exc_info=wordless(error))
        raise WireError("the answer is not in the form of the provider's API")


def cut_off_call(reason: FinishReason | None, manager: ModelResponsePartsManager) -> Iterator[ModelResponseStreamEvent]:
    """Make the last call of an answer one that is not run, when the limit cut it off before its first argument.

    Without arguments it would be a call that needs none.
    """
    parts = manager.get_parts()
    last = parts[-1] if parts else None
    if reason == "length" and isinstance(last, ToolCallPart) and last.args in (None, ""):
        yield from manager.handle_tool_call_delta_events(vendor_part_id=None, args=CUT_OFF)
