"""Cuts the body into lines, in the batches in which they arrived."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, Self

from runtime.llm.wire.errors import WireError

MAX_LINE_BYTES = 16 << 20
"""A generated image comes as one line of base64; nothing legitimate is longer than this."""


class ByteSource(Protocol):
    """Where the body comes from."""

    async def take(self) -> list[bytes] | None:
        """The pieces that arrived since the last call, or None at the end."""


class LineBatches(AsyncIterator[list[bytes]]):
    """All lines that have arrived together, batch after batch, without their line ends.

    Only ``\\n`` ends a line: other line separators are part of the text inside. What stands after the last ``\\n``
    is a line too, since a body cut off in the middle of a line then fails to parse. Not a generator, so that nothing
    is left to finalise when a run stops in the middle.

    Raises WireError when a line is too long, and what the source raises.
    """

    def __init__(self, source: ByteSource, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._source = source
        self._max_line_bytes = max_line_bytes
        self._begun: list[bytes] = []
        self._begun_bytes = 0
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[bytes]:
        while not self._ended:
            pieces = await self._source.take()
            lines = self._cut(pieces) if pieces is not None else self._end()
            if lines:
                return lines
        raise StopAsyncIteration

    def _cut(self, pieces: list[bytes]) -> list[bytes]:
        data = b"".join(pieces)
        first, newline, rest = data.partition(b"\n")
        if not newline:
            self._begin(first)
            return []
        lines = [b"".join([*self._begun, first]), *rest.split(b"\n")]
        self._begun, self._begun_bytes = [], 0
        self._begin(lines.pop())
        if any(len(line) > self._max_line_bytes for line in lines):
            raise self._too_long()
        return lines

    def _begin(self, data: bytes) -> None:
        if data:
            self._begun.append(data)
            self._begun_bytes += len(data)
        if self._begun_bytes > self._max_line_bytes:
            raise self._too_long()

    def _end(self) -> list[bytes]:
        self._ended = True
        return [b"".join(self._begun)] if self._begun else []

    def _too_long(self) -> WireError:
        return WireError(f"a line of the plugin daemon's answer is longer than {self._max_line_bytes} bytes")
