"""Joins text chunks that have arrived together, so that Pydantic AI has fewer and larger deltas to handle.

Its cost is by the event and not by the character. Nothing waits for more to come: under load more arrives together,
and so more is merged by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from runtime.llm.plugin_daemon.wire import Chunk, ReportedFailure, read_line
from runtime.llm.wire.errors import WireError


def read_lines(lines: Iterable[bytes]) -> Iterator[Chunk | ReportedFailure]:
    """What each line says, one by one. Raises WireError."""
    for line in lines:
        chunk = read_line(line)
        if chunk is not None:
            yield chunk


def read_lines_merged(lines: Iterable[bytes]) -> Iterator[Chunk | ReportedFailure]:
    """As ``read_lines``, with neighbours that are text and nothing else as one chunk. Raises WireError."""
    texts: list[str] = []
    try:
        for chunk in read_lines(lines):
            if isinstance(chunk, Chunk) and _is_only_text(chunk):
                texts.append(str(chunk.content))
                continue
            yield from _joined(texts)
            yield chunk
    except WireError:
        yield from _joined(texts)  # what came before the bad line counts
        raise
    yield from _joined(texts)


def _is_only_text(chunk: Chunk) -> bool:
    return (
        isinstance(chunk.content, str) and not chunk.tool_calls and chunk.usage is None and chunk.finish_reason is None
    )


def _joined(texts: list[str]) -> Iterator[Chunk]:
    """The gathered texts as one chunk, and none of them left."""
    if texts:
        text = "".join(texts)
        texts.clear()
        yield Chunk(content=text, tool_calls=[], usage=None, finish_reason=None)
