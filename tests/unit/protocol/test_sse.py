"""Server-sent event frames."""

from __future__ import annotations

import json

from runtime.protocol.dialects import Dialect
from runtime.protocol.events import EventEncoder, RunEnd
from runtime.protocol.sse import HEARTBEAT, HEARTBEAT_SECONDS, RECONNECT_SOON, event_with_id, frame

TEXT = "a\u0085b\u2028c\u2029d\re\nf\x0bg\x0ch\x1ci\x1dj\x1ek"
"""Every character that some reader takes for the end of a line."""


def test_a_frame_is_an_id_an_event_and_one_line_of_json() -> None:
    payload = EventEncoder("run-1", Dialect.CURRENT).started().payload

    lines = frame(b"1-1", b"run_started", payload).decode().split("\n")

    assert lines[0] == "id: 1-1"
    assert lines[1] == "event: run_started"
    assert lines[2].startswith("data: {")
    assert lines[3:] == ["", ""]


def test_the_data_of_a_frame_is_the_whole_event_with_its_id() -> None:
    payload = EventEncoder("run-1", Dialect.CURRENT).started().payload

    event = json.loads(event_with_id(b"1-1", payload))

    assert event.pop("id") == "1-1"
    assert event == json.loads(payload)


def test_a_frame_holds_no_character_that_a_reader_may_split_lines_on() -> None:
    payload = EventEncoder("run-1", Dialect.CURRENT).ended(RunEnd.failed(TEXT)).payload

    framed = frame(b"1-1", b"run_failed", payload).decode()

    assert framed.splitlines() == framed.split("\n")[:-1]
    assert json.loads(framed.split("\n")[2].removeprefix("data: "))["data"]["error"] == TEXT


def test_a_heartbeat_is_a_comment_and_comes_at_least_every_fifteen_seconds() -> None:
    assert HEARTBEAT == b": keepalive\n\n"
    assert HEARTBEAT_SECONDS <= 15


def test_a_cut_stream_tells_the_client_when_to_reconnect() -> None:
    name, _, milliseconds = RECONNECT_SOON.decode().removesuffix("\n\n").partition(": ")

    assert name == "retry"
    assert 0 < int(milliseconds) <= 5000
