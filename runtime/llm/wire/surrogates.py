"""Joins surrogate pairs that servers cut in two.

Some servers write a character beyond the basic plane as two JSON escapes, and end a chunk between them. Half a pair
is no character: it cannot be encoded, stored or sent on.
"""

from __future__ import annotations

import re
from collections.abc import Hashable

_HALF = re.compile("[\ud800-\udfff]")

_TOKEN = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[^u])|[^\\]+", re.DOTALL)
"""A whole escape of a JSON text, or what stands between two."""
_FIRST_ESCAPE = re.compile(r"\\u[dD][89abAB]")
_ESCAPE = re.compile(
    r"(\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u(?![dD][89a-fA-F])|\\[^u])|\\u[0-9a-fA-F]{4}",
    re.DOTALL,
)
"""An escape; in the group, one that is not half a pair."""
_ESCAPE_LENGTH = 6


def mended(text: str) -> str:
    """The text with its pairs joined, and U+FFFD in the place of each half that stands alone."""
    if _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mended_json(text: str) -> str:
    """The JSON text, mended also where it writes the halves as escapes of its own."""
    return _ESCAPE.sub(lambda escape: escape[1] or r"\ufffd", mended(text))


class SurrogateJoiner:
    """Mends the texts of one answer, each of which arrives in pieces on a channel of its own.

    The first half of a pair at the end of a piece is held back until the next piece of the channel. What is JSON
    itself, such as arguments, may hold halves as escapes, which are held back in the same way.
    """

    def __init__(self) -> None:
        self._held: dict[Hashable, str] = {}

    def feed(self, channel: Hashable, text: str, *, is_json: bool = False) -> str:
        """The text that is certain so far."""
        if not self._held and _HALF.search(text) is None and not (is_json and "\\" in text):
            return text
        text = self._held.pop(channel, "") + text
        certain = _certain_json(text) if is_json else len(text)
        if text and "\ud800" <= text[-1] <= "\udbff":
            certain = min(certain, len(text) - 1)
        if certain < len(text):
            self._held[channel] = text[certain:]
            text = text[:certain]
        return mended_json(text) if is_json else mended(text)

    def close(self, channel: Hashable) -> str:
        """What was held back of one channel, and is not gone on with."""
        return mended_json(self._held.pop(channel, ""))

    def rest(self) -> dict[Hashable, str]:
        """By channel, what was held back and is not gone on with. Nothing is held back afterwards."""
        return {channel: self.close(channel) for channel in list(self._held)}


def _certain_json(text: str) -> int:
    """Up to where no escape, and no pair of escapes, may still go on."""
    position = certain = 0
    while (token := _TOKEN.match(text, position)) is not None:
        position = token.end()
        if _FIRST_ESCAPE.match(token[0]) is None:
            certain = position
    return certain if len(text) - position < _ESCAPE_LENGTH else len(text)
