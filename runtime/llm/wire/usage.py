"""The usage that a stream reports: the last one counts."""

from __future__ import annotations

from typing import Any

from runtime.llm.wire.fields import whole_number
from runtime.llm.wire.reader import Json


class LastUsage:
    """The counts of one answer, which servers may tell in every chunk, twice, or as null.

    Each count is the last that was told as a number. Objects of further counts are kept as far as they are numbers.
    """

    def __init__(self, *required: str) -> None:
        self._required = required
        self._counts: Json = {}

    def take(self, usage: Any) -> Json | None:
        """The usage so far, with the counts of this one; None when nothing was ever told."""
        if isinstance(usage, dict):
            self._counts.update(_counts(usage))
        return {**dict.fromkeys(self._required, 0), **self._counts} if self._counts else None


def _counts(usage: Json) -> Json:
    counts: Json = {}
    for name, value in usage.items():
        if isinstance(value, dict):
            counts[name] = _counts(value)
        elif (number := whole_number(value)) is not None and number >= 0:
            counts[name] = number
        elif isinstance(value, str | list):
            counts[name] = value
    return counts
