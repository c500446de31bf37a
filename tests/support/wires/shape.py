"""The type of one row: one way in which a model server answers."""

from __future__ import annotations

from dataclasses import dataclass

EMOJI = "\U0001f600"
FIRST, SECOND = "\ud83d", "\ude00"
"""The two halves of the emoji's surrogate pair, between which some servers cut."""
LOST = "\ufffd"

WIRES = ("openai", "openai-responses", "anthropic", "google", "plugin")

Call = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Shape:
    """A body and its meaning: its text, thinking, calls and tokens, or the reason why it fails."""

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
