"""One way in which a model server answers."""

from __future__ import annotations

from dataclasses import dataclass

EMOJI = "\U0001f600"
FIRST, SECOND = "\ud83d", "\ude00"
"""The halves of the emoji, as some servers cut it."""
LOST = "\ufffd"

WIRES = ("openai", "openai-responses", "anthropic", "google", "plugin")

Call = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Shape:
    """A body, and what it means: its parts in their order and its tokens, or why it fails."""

    name: str
    wire: str
    body: bytes
    text: str = ""
    thinking: str = ""
    calls: tuple[Call, ...] = ()
    tokens: tuple[int, int] = (7, 5)
    fails: str | None = None

    def __str__(self) -> str:
        return f"{self.wire}: {self.name}"
