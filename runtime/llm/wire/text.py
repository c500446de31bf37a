"""The text of a model's answer on its way into Pydantic AI's parts, with the thinking taken apart from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_ai._parts_manager import ModelResponsePartsManager
from pydantic_ai.messages import ModelResponseStreamEvent, PartStartEvent, TextPart, ThinkingPart

from runtime.llm.wire.thinking import Segment, ThinkTagParser


class AnswerText:
    """Takes the text of one answer piece by piece. Its events go to the client, its parts into ``parts``."""

    def __init__(self, parts: ModelResponsePartsManager) -> None:
        self._parts = parts
        self._tags = ThinkTagParser()
        self._new_part: object | None = None

    def begin_part(self) -> None:
        """What comes next is a part of its own, also behind another text."""
        self._new_part = object()

    def feed(self, text: str, **details: Any) -> Iterator[ModelResponseStreamEvent]:
        """The events of a piece of text; ``details`` are those of ``handle_text_delta``, for what is no thinking."""
        return self._events(self._tags.feed(text), details)

    def flush(self) -> Iterator[ModelResponseStreamEvent]:
        """The events of what was held back, before a part of another kind and at the end."""
        return self._events(self._tags.flush(), {})

    def _events(self, segments: Iterable[Segment], details: dict[str, Any]) -> Iterator[ModelResponseStreamEvent]:
        for segment in segments:
            if segment.turns_thinking:
                yield from _turn_into_thinking(self._parts)
                continue
            part, self._new_part = self._new_part, None
            if segment.is_thinking:
                yield from self._parts.handle_thinking_delta(vendor_part_id=part, content=segment.text)
            else:
                yield from self._parts.handle_text_delta(vendor_part_id=part, content=segment.text, **details)


def _turn_into_thinking(parts: ModelResponsePartsManager) -> Iterator[ModelResponseStreamEvent]:
    """Make the text so far thinking, when the answer is nothing but text. A start with a known index replaces."""
    answered = parts.get_parts()
    if len(answered) == 1 and isinstance(text := answered[0], TextPart):
        thinking = ThinkingPart(text.content)
        parts._replace_part(0, thinking)
        yield PartStartEvent(index=0, part=thinking)
