"""Merging: the same text in fewer deltas, and nothing else touched."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.llm.plugin_daemon.merging import read_lines, read_lines_merged
from runtime.llm.plugin_daemon.wire import Chunk, ReportedFailure
from runtime.llm.wire.errors import WireError


def line(content: object = "", **delta: Any) -> bytes:
    message = {"role": "assistant", "content": content, "tool_calls": delta.pop("tool_calls", [])}
    data = {"model": "m", "delta": {"index": 0, "message": message, **delta}}
    return b"data: " + json.dumps({"code": 0, "message": "success", "data": data}).encode()


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
FAILURE = b'data: {"code": -500, "message": "{}", "data": null}'


def contents(lines: list[bytes]) -> list[object]:
    return [chunk.content if isinstance(chunk, Chunk) else chunk for chunk in read_lines_merged(lines)]


def test_neighbouring_texts_are_one_delta_also_over_blank_lines() -> None:
    assert contents([line("a"), b"", line("b"), b": comment", line("c")]) == ["abc"]


def test_what_is_more_than_text_stands_by_itself_and_in_its_place() -> None:
    lines = [line("a"), line("b", tool_calls=[CALL]), line("c"), line("d"), line("e", finish_reason="stop"), line("f")]

    merged = list(read_lines_merged(lines))

    assert contents(lines) == ["a", "b", "cd", "e", "f"]
    assert [bool(chunk.tool_calls) for chunk in merged if isinstance(chunk, Chunk)] == [
        False,
        True,
        False,
        False,
        False,
    ]
    assert [chunk.finish_reason for chunk in merged if isinstance(chunk, Chunk)][3] == "stop"


def test_usage_is_not_merged_away() -> None:
    merged = list(read_lines_merged([line("a"), line("b", usage={"prompt_tokens": 1}), line("c")]))

    assert [chunk.usage is not None for chunk in merged if isinstance(chunk, Chunk)] == [False, True, False]


def test_lists_of_parts_are_left_as_they_are() -> None:
    part = [{"type": "text", "data": "x"}]

    assert contents([line("a"), line(part), line("b")]) == ["a", part, "b"]


def test_text_before_a_failure_comes_before_it() -> None:
    merged = list(read_lines_merged([line("a"), line("b"), FAILURE]))

    assert isinstance(merged[0], Chunk)
    assert merged[0].content == "ab"
    assert isinstance(merged[1], ReportedFailure)


def test_text_before_a_bad_line_counts() -> None:
    chunks = read_lines_merged([line("a"), line("b"), b"garbage"])

    first = next(chunks)
    assert isinstance(first, Chunk)
    assert first.content == "ab"
    with pytest.raises(WireError):
        next(chunks)


def test_without_merging_every_chunk_is_its_own() -> None:
    chunks = [chunk.content for chunk in read_lines([line("a"), line("b")]) if isinstance(chunk, Chunk)]

    assert chunks == ["a", "b"]
