"""Responses that are sent as they come, as server-sent events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from flask import Response

from runtime.protocol import sse
from services.open_streams import OpenStream

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Keeps proxies from holding back what has come until there is more."""


class CountedFrames:
    """Frames of a stream that counts until they are closed, also when they were never begun."""

    __slots__ = ("_frames", "_stream")

    def __init__(self, frames: Iterator[bytes], stream: OpenStream) -> None:
        self._frames = frames
        self._stream = stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return next(self._frames)

    def close(self) -> None:
        """What the server calls at the end, however it comes."""
        try:
            close = getattr(self._frames, "close", None)  # only generators have one
            if close is not None:
                close()
        finally:
            self._stream.close()


def stream_response(frames: Iterator[bytes], stream: OpenStream | None = None) -> Response:
    """A response of frames that are made elsewhere. ``stream`` is closed with it."""
    body = frames if stream is None else CountedFrames(frames, stream)
    # Passed through as it is: werkzeug's own iterator around it would cost each waiting stream memory.
    return Response(body, content_type=sse.CONTENT_TYPE, headers=STREAM_HEADERS, direct_passthrough=True)
