"""Finds ``<think>`` tags in a text that arrives in pieces."""

from __future__ import annotations

from typing import NamedTuple

OPENING_TAG = "<think>"
CLOSING_TAG = "</think>"


class Segment(NamedTuple):
    """A piece of text, and whether it is the model's thinking."""

    text: str
    is_thinking: bool


class ThinkTagParser:
    """Splits the pieces of one answer into thinking and text.

    Holds back no more than the beginning of a tag. A tag that is never closed makes the rest thinking.
    """

    def __init__(self) -> None:
        self._held = ""
        self._in_thinking = False

    def feed(self, text: str) -> list[Segment]:
        """The segments that are certain so far."""
        if not self._held and "<" not in text:
            return [Segment(text, self._in_thinking)] if text else []
        text = self._held + text
        segments: list[Segment] = []
        while True:
            before, tag, after = text.partition(self._awaited_tag)
            if not tag:
                break
            self._append(segments, before)
            self._in_thinking = not self._in_thinking
            text = after
        held = _begun_tag_length(text, self._awaited_tag)
        self._held = text[len(text) - held :]
        self._append(segments, text[: len(text) - held])
        return segments

    def flush(self) -> list[Segment]:
        """What was held back, which turned out to be no tag."""
        segments: list[Segment] = []
        self._append(segments, self._held)
        self._held = ""
        return segments

    @property
    def _awaited_tag(self) -> str:
        return CLOSING_TAG if self._in_thinking else OPENING_TAG

    def _append(self, segments: list[Segment], text: str) -> None:
        if text:
            segments.append(Segment(text, self._in_thinking))


def _begun_tag_length(text: str, tag: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``tag``."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[len(text) - length :]):
            return length
    return 0


def think_block(thinking: str) -> str:
    """Thinking of an earlier turn, as it is sent back to the model."""
    return f"{OPENING_TAG}\n{thinking}\n{CLOSING_TAG}"
