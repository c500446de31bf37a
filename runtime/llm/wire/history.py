"""The conversation as it is sent to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic_ai.messages import ModelMessage, ModelResponse, ModelResponsePart, TextPart


def without_blank_text(messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    """The messages without the model's texts of white space only, which some providers refuse in every later turn.

    An answer that was nothing else is left out whole.
    """
    kept: list[ModelMessage] = []
    for message in messages:
        if isinstance(message, ModelResponse) and any(_is_blank(part) for part in message.parts):
            parts = [part for part in message.parts if not _is_blank(part)]
            if parts:
                kept.append(replace(message, parts=parts))
        else:
            kept.append(message)
    return kept


def _is_blank(part: ModelResponsePart) -> bool:
    return isinstance(part, TextPart) and not part.content.strip()
