"""What the model is told of a tool's answer."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from runtime.llm.plugin_daemon.wire import ReportedFailure
from runtime.llm.plugin_tools.blobs import MAX_FILE_BYTES
from runtime.llm.plugin_tools.messages import ToolMessage, read_message
from runtime.llm.plugin_tools.observation import (
    FILE_INCOMPLETE,
    FILE_TOO_LARGE,
    IMAGE_SENT,
    NOTHING,
    Observation,
    cut,
)
from runtime.llm.wire.errors import WireError

Data = dict[str, Any]


def line(data: object) -> bytes:
    return b"data: " + json.dumps({"code": 0, "message": "success", "data": data}).encode()


def read(data: Data) -> ToolMessage:
    message = read_message(line(data))
    assert isinstance(message, ToolMessage)
    return message


def observed(*messages: Data, limit: int = 1000) -> str:
    observation = Observation(limit)
    for data in messages:
        observation.add(read(data))
    return observation.text()


def text(value: str) -> Data:
    return {"type": "text", "message": {"text": value}}


def json_message(value: object, **more: Any) -> Data:
    return {"type": "json", "message": {"json_object": value, **more}}


def chunk(
    sequence: int, data: bytes, *, end: bool = False, total: int | None = 10, file_id: str = "f", **meta: str
) -> Data:
    piece = {"id": file_id, "sequence": sequence, "blob": base64.b64encode(data).decode(), "end": end}
    return {"type": "blob_chunk", "message": {**piece, "total_length": total}, "meta": meta or None}


def blob(data: bytes, **meta: str) -> Data:
    return {"type": "blob", "message": {"blob": base64.b64encode(data).decode()}, "meta": meta}


def test_pieces_of_text_are_joined() -> None:
    assert observed(text("Hello, "), text(""), text("world")) == "Hello, world"


def test_a_message_without_a_type_is_a_text() -> None:
    assert observed({"message": {"text": "plain"}}) == "plain"


def test_empty_texts_leave_no_empty_lines() -> None:
    assert observed(text(""), {"type": "image", "message": {"text": "x"}}, text("")) == IMAGE_SENT


def test_links_and_images_are_named_between_texts() -> None:
    told = observed(
        text("before"),
        {"type": "link", "message": {"text": "https://a.org"}},
        {"type": "image", "message": {"text": "https://a.org/1.png"}},
        text("after"),
    )

    assert told == f"before\nA link for the user: https://a.org\nTell the user to open it.\n{IMAGE_SENT}\nafter"


@pytest.mark.parametrize("kind", ["image", "image_link"])
def test_an_image_is_said_to_have_been_sent(kind: str) -> None:
    assert observed({"type": kind, "message": {"text": "https://a.org/1.png"}}) == IMAGE_SENT


def test_a_binary_link_is_a_link() -> None:
    assert "https://a.org/x.zip" in observed({"type": "binary_link", "message": {"text": "https://a.org/x.zip"}})


@pytest.mark.parametrize(
    "silent",
    [
        {"type": "variable", "message": {"variable_name": "v", "variable_value": "secret", "stream": False}},
        {"type": "log", "message": {"id": "1", "label": "step", "status": "start", "data": {}}},
        {"type": "kind-of-next-year", "message": {"text": "secret"}},
        {"type": "log", "message": None},
    ],
)
def test_messages_that_are_not_for_the_model_are_dropped(silent: Data) -> None:
    assert observed(silent) == NOTHING
    assert observed(text("a"), silent) == "a"


# JSON


def test_json_comes_after_everything_else() -> None:
    assert observed(json_message({"a": 1, "b": "ü"}), text("words")) == 'words\n{"a":1,"b":"ü"}'


@pytest.mark.parametrize(
    "message",
    [{"type": "json", "message": {"a": 1}}, {"type": "json", "message": {"json_object": {"a": 1}}}],
    ids=["bare", "named"],
)
def test_json_comes_in_two_shapes(message: Data) -> None:
    assert observed(message) == '{"a":1}'


@pytest.mark.parametrize("message", [json_message([1]), {"type": "json", "message": [1]}], ids=["named", "bare"])
def test_json_may_be_a_list(message: Data) -> None:
    assert observed(message) == "[1]"


def test_suppressed_json_is_dropped() -> None:
    assert observed(json_message({"a": 1}, suppress_output=True)) == NOTHING


@pytest.mark.parametrize("pieces", [['{"a": [1, 2]}'], ['{"a": ', "[1,2]}"], ["Result:", '{"a": [1, 2]}']])
def test_json_that_repeats_the_text_is_left_out(pieces: list[str]) -> None:
    assert observed(*map(text, pieces), json_message({"a": [1, 2]})) == "".join(pieces)


def test_json_that_differs_from_the_text_is_shown() -> None:
    assert observed(text('{"a": 1}'), json_message({"a": 2})) == '{"a": 1}\n{"a":2}'


# Files


def test_chunks_are_joined_by_their_id() -> None:
    told = observed(
        chunk(0, b"hello", file_id="1"),
        chunk(0, b"12345", file_id="2"),
        chunk(1, b"67890", file_id="2"),
        chunk(1, b"world", file_id="1"),
        chunk(2, b"", end=True, file_id="2", filename="two.txt", mime_type="text/plain"),
        chunk(2, b"", end=True, file_id="1", mime_type="text/plain; charset=utf-8"),
    )

    assert told == (
        "The tool made a file 'two.txt' (text/plain) of 10 bytes:\n1234567890\n"
        "The tool made a file (text/plain; charset=utf-8) of 10 bytes:\nhelloworld"
    )


def test_the_last_chunk_may_carry_data_and_chunks_may_overtake_each_other() -> None:
    told = observed(chunk(1, b"world"), chunk(0, b"hello"), chunk(2, b"!", end=True, total=11, mime_type="text/plain"))

    assert FILE_INCOMPLETE in told  # the first chunk has said ten bytes
    assert "helloworld!" in observed(
        chunk(1, b"world", total=None), chunk(0, b"hello"), chunk(2, b"!", end=True, mime_type="text/plain")
    )


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(0, b"hello"), chunk(1, b"world")],
        [chunk(0, b"hello"), chunk(2, b"world", end=True)],
        [chunk(1, b"helloworld"), chunk(2, b"", end=True)],
        [chunk(0, b"hello", end=True)],
    ],
    ids=["no end", "gap", "no beginning", "too few bytes"],
)
def test_an_incomplete_file_is_reported(chunks: list[Data]) -> None:
    assert observed(*chunks) == FILE_INCOMPLETE


def test_a_too_large_file_is_reported_once_and_the_rest_goes_on() -> None:
    half = b"x" * (MAX_FILE_BYTES // 2 + 1)
    total = len(half) * 2

    told = observed(
        chunk(0, half, total=total), chunk(1, half, total=total), chunk(2, b"", end=True, total=total), text("done")
    )

    assert told == f"{FILE_TOO_LARGE}\ndone"


def test_a_file_that_is_no_text_is_only_described() -> None:
    assert observed(blob(b"\x89PNG", mime_type="image/png")) == "The tool made a file (image/png) of 4 bytes."
    assert observed(blob(b"\xff\xfe", mime_type="text/csv")) == "The tool made a file (text/csv) of 2 bytes."
    assert observed(blob(b"text")) == "The tool made a file of 4 bytes."


def test_a_text_file_too_long_to_show_is_only_described() -> None:
    assert (
        observed(blob(b"x" * 51, mime_type="text/plain"), limit=50) == "The tool made a file (text/plain) of 51 bytes."
    )


def test_a_file_elsewhere_is_named() -> None:
    message = {"type": "file", "message": {"file_marker": "file_marker"}, "meta": {"filename": "a.pdf", "file": {}}}

    assert observed(message) == "The tool made a file 'a.pdf'."


# The bound


def test_text_beyond_the_bound_is_dropped() -> None:
    told = observed(text("a" * 50), *(text("b" * 60) for _ in range(100)), json_message({"c": 1}), limit=100)

    assert told == "a" * 50 + "b" * 60 + '\n{"c":1}'


def test_a_long_observation_is_cut_and_says_so() -> None:
    assert cut("a" * 100, limit=100) == "a" * 100
    assert (
        cut("a" * 101, limit=100) == "a" * 100 + "\n[The result was longer than 100 characters. The rest is left out.]"
    )


# What is not the protocol


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "text",
        {"type": 1},
        {"type": "text", "message": "bare"},
        {"type": "text", "message": None},
        {"type": "text", "message": {"text": 1}},
        {"type": "link", "message": {}},
        {"type": "blob", "message": {"blob": "%%%"}},
        {"type": "blob", "message": {"blob": "é"}},
        {"type": "blob", "message": {"blob": None}},
        {"type": "blob_chunk", "message": {"id": "1", "blob": ""}},
        {"type": "blob_chunk", "message": {"sequence": 0, "blob": ""}},
        {"type": "blob_chunk", "message": {"id": "1", "sequence": "0", "blob": ""}},
        {"type": "blob_chunk", "message": {"id": "1", "sequence": 0}},
    ],
)
def test_a_malformed_message_is_an_error_that_quotes_nothing(data: object) -> None:
    with pytest.raises(WireError) as caught:
        Observation().add(read(data))  # type: ignore[arg-type]

    assert "%%%" not in str(caught.value)


def test_blank_lines_comments_and_failures_are_distinguished() -> None:
    assert read_message(b"") is None
    assert read_message(b": keepalive") is None
    assert read_message(b'{"code": -500, "message": "m", "data": null}') == ReportedFailure("m")
