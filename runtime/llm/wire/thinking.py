"""Finds ``<think>`` tags in a text that arrives in pieces."""

from __future__ import annotations

from typing import NamedTuple

OPENING_TAG = "<think>"
CLOSING_TAG = "</think>"


class Segment(NamedTuple):
    """A piece of text, and whether it is the model's thinking.

    With ``turns_thinking`` it has no text of its own and says that everything before it was thinking.
    """

    text: str
    is_thinking: bool
    turns_thinking: bool = False


class ThinkTagParser:
    """Splits the pieces of one answer into thinking and text.

    Holds back no more than the beginning of a tag. A tag that is never closed makes the rest thinking. The first tag
    of an answer may be a closing one, where the server's own template has opened it: all before it is thinking. A
    closing tag with nothing to close is otherwise dropped.
    """

    def __init__(self) -> None:
        self._held = ""
        self._in_thinking = False
        self._has_seen_a_tag = False

    def feed(self, text: str) -> list[Segment]:
        """The segments that are certain so far."""
        if not self._held and "<" not in text:
            return [Segment(text, self._in_thinking)] if text else []
        text = self._held + text
        segments: list[Segment] = []
        while (found := self._next_tag(text)) is not None:
            start, tag = found
            self._append(segments, text[:start])
            self._pass(segments, tag)
            text = text[start + len(tag) :]
        held = max(_begun_tag_length(text, tag) for tag in self._awaited_tags)
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
    def _awaited_tags(self) -> tuple[str, ...]:
        return (CLOSING_TAG,) if self._in_thinking else (OPENING_TAG, CLOSING_TAG)

    def _next_tag(self, text: str) -> tuple[int, str] | None:
        found = [(start, tag) for tag in self._awaited_tags if (start := text.find(tag)) >= 0]
        return min(found) if found else None

    def _pass(self, segments: list[Segment], tag: str) -> None:
        if tag == OPENING_TAG or self._in_thinking:
            self._in_thinking = not self._in_thinking
        elif not self._has_seen_a_tag:
            segments.append(Segment("", True, turns_thinking=True))
        self._has_seen_a_tag = True

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
