"""The lines of a model stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.llm.plugin_daemon.wire import Chunk, ReportedFailure, read_line
from runtime.llm.wire.errors import WireError
from runtime.llm.wire.tool_calls import ToolCallFragment


def frame(delta: Any) -> bytes:
    return json.dumps({"code": 0, "message": "success", "data": {"delta": delta}}).encode()


def read_chunk(delta: Any) -> Chunk:
    chunk = read_line(frame(delta))
    assert isinstance(chunk, Chunk)
    return chunk


def test_a_full_chunk_is_read() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    chunk = read_chunk(
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hi", "name": "", "tool_calls": [call], "tool_call_id": ""},
            "usage": {"prompt_tokens": 3, "completion_tokens": None, "total_price": "0.5", "unknown": [1]},
            "finish_reason": "stop",
        }
    )

    assert chunk.content == "hi"
    assert chunk.tool_calls == [ToolCallFragment("1", "f", "{}")]
    assert chunk.usage is not None
    assert (chunk.usage.prompt_tokens, chunk.usage.completion_tokens) == (3, 0)
    assert chunk.finish_reason == "stop"


@pytest.mark.parametrize("prefix", [b"", b"data:", b"data: ", b"data:  "])
@pytest.mark.parametrize("suffix", [b"", b"\r", b" "])
def test_lines_may_be_bare_or_events(prefix: bytes, suffix: bytes) -> None:
    chunk = read_line(prefix + frame({"message": {"content": "x"}}) + suffix)

    assert isinstance(chunk, Chunk)
    assert chunk.content == "x"


@pytest.mark.parametrize("line", [b"", b"\r", b"  ", b"data:", b"data: \r", b": keepalive"])
def test_blank_lines_and_comments_say_nothing(line: bytes) -> None:
    assert read_line(line) is None


@pytest.mark.parametrize("delta", [{}, {"message": None}, {"message": {"content": None, "tool_calls": None}}])
def test_what_is_null_or_absent_is_empty(delta: dict[str, Any]) -> None:
    assert read_chunk(delta) == Chunk("", [], None, None)


@pytest.mark.parametrize("missing", ["", "none", "null", "None", "NULL", " ", None])
def test_placeholder_ids_count_as_missing(missing: str | None) -> None:
    chunk = read_chunk({"message": {"tool_calls": [{"id": missing, "function": {"name": "f", "arguments": None}}]}})

    assert chunk.tool_calls == [ToolCallFragment("", "f", "")]


def test_arguments_that_are_an_object_already_are_written_as_json() -> None:
    chunk = read_chunk({"message": {"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}]}})

    assert chunk.tool_calls == [ToolCallFragment("1", "f", '{"a":1}')]


def test_a_code_other_than_0_is_a_failure() -> None:
    failure = read_line(b'{"code":-500,"message":"broken","data":null}')

    assert failure == ReportedFailure("broken")


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b'data: {"code":0,"data":{"del',
        b"data: [DONE]",
        b"[1]",
        b'"text"',
        b"null",
        b"dat",
        b'{"code":0,"data":{"delta":{"message":{"content":"\xff\xfe"}}}}',
        b'{"code":0,"data":null}',
        b'{"code":0}',
        b'{"data":{}}',
        b'{"code":"0","data":{}}',
        b'{"code":true,"data":{}}',
        b'{"code":0,"data":[]}',
        b'{"code":0,"data":{}}',
        b'{"code":0,"data":{"delta":[]}}',
        b"[" * 100_000,
        frame({"message": []}),
        frame({"message": {"content": 1}}),
        frame({"message": {"content": {"type": "text"}}}),
        frame({"message": {"tool_calls": {}}}),
        frame({"message": {"tool_calls": ["f"]}}),
        frame({"message": {"tool_calls": [{"id": 1, "function": {"name": "f"}}]}}),
        frame({"message": {"tool_calls": [{"function": "f"}]}}),
        frame({"message": {"tool_calls": [{"function": {"name": 1}}]}}),
        frame({"message": {"tool_calls": [{"function": {"name": "f", "arguments": [1]}}]}}),
        frame({"usage": "much"}),
        frame({"usage": {"prompt_tokens": "secret-text"}}),
        frame({"finish_reason": 1}),
    ],
)
def test_any_other_line_is_a_protocol_error_that_quotes_nothing(line: bytes) -> None:
    with pytest.raises(WireError) as caught:
        read_line(line)

    assert str(caught.value)
    assert "secret-text" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
