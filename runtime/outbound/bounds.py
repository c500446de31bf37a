"""How large an answer may be, and how long it may take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

import httpx2

from runtime.outbound.errors import AnswerEncoded, AnswerTooLarge

HEAD_BYTES = 80 << 10
"""Of the head of an answer, with all interim answers before it. The HTTP library's own bound on one head is 100 KiB."""

MAX_PIECES = 500_000
"""Of one body. A piece of a byte costs as much work as one of a thousand."""

FRAMING = 2
"""A chunked body may be this many times as large on the wire as what is in it, and 64 KiB."""


@dataclass(frozen=True, slots=True)
class AnswerBounds:
    """Bounds on one answer. ``seconds`` counts from the request to the last byte; None is no limit."""

    success_bytes: int
    """Of the body of an answer with a status of 2xx."""
    other_bytes: int
    """Of the body of any other."""
    seconds: float | None
    read_bytes: int = 4 << 10
    """Read at once. What is read together is worked off together, and meanwhile nothing else of the worker runs: four
    times as much of an endless answer made other runs wait for seconds."""

    def body_bytes(self, status: int) -> int:
        """The bound on the body of an answer with this status."""
        return self.success_bytes if httpx2.codes.is_success(status) else self.other_bytes

    def wire_bytes(self, status: int) -> int:
        """The bound on what such a body takes on the wire."""
        return FRAMING * self.body_bytes(status) + (64 << 10)


class BoundedBody(httpx2.AsyncByteStream):
    """A body of so many bytes at most. Raises AnswerTooLarge in the place of what is beyond."""

    def __init__(self, inner: httpx2.AsyncByteStream, max_bytes: int) -> None:
        self._inner = inner
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = pieces = 0
        async for piece in self._inner:
            size += len(piece)
            pieces += 1
            if size > self._max_bytes:
                raise too_large(self._max_bytes)
            if pieces > MAX_PIECES:
                raise AnswerTooLarge(f"the answer comes in more than {MAX_PIECES} pieces")
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


def bounded(response: httpx2.Response, bounds: AnswerBounds) -> httpx2.Response:
    """The answer with a bounded body. Raises AnswerEncoded."""
    codings = ",".join(response.headers.get_list("content-encoding"))
    if any(coding.strip().lower() not in ("", "identity") for coding in codings.split(",")):
        raise AnswerEncoded
    max_bytes = bounds.body_bytes(response.status_code)
    return httpx2.Response(
        response.status_code,
        headers=response.headers,
        stream=BoundedBody(cast(httpx2.AsyncByteStream, response.stream), max_bytes),
        extensions=response.extensions,
    )


def too_large(max_bytes: int) -> AnswerTooLarge:
    """The error of an answer above a bound."""
    return AnswerTooLarge(f"the answer is larger than {max_bytes} bytes")
