"""Joins surrogate pairs that servers cut in two.

Some servers write a character beyond the basic plane as two JSON escapes, and end a chunk between them. Half a pair
is no character: it cannot be encoded, stored or sent on.
"""

from __future__ import annotations

import re
from collections.abc import Hashable

_HALF = re.compile("[\ud800-\udfff]")


def mended(text: str) -> str:
    """The text with its pairs joined, and U+FFFD in the place of each half that stands alone."""
    if _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class SurrogateJoiner:
    """Mends the texts of one answer, each of which arrives in pieces on a channel of its own.

    The first half of a pair at the end of a piece is held back until the next piece of the channel.
    """

    def __init__(self) -> None:
        self._held: dict[Hashable, str] = {}

    def feed(self, channel: Hashable, text: str) -> str:
        """The text that is certain so far."""
        if not self._held and _HALF.search(text) is None:
            return text
        text = self._held.pop(channel, "") + text
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._held[channel] = text[-1]
            text = text[:-1]
        return mended(text)

    def close(self, channel: Hashable) -> str:
        """What was held back of one channel and turned out to stand alone."""
        return mended(self._held.pop(channel, ""))

    def rest(self) -> dict[Hashable, str]:
        """By channel, what was held back and turned out to stand alone. Nothing is held back afterwards."""
        held, self._held = self._held, {}
        return {channel: mended(half) for channel, half in held.items()}
