"""Frames of WebSocket messages, read back by wsproto."""

from __future__ import annotations

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from runtime.protocol.ws import text_frame


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000])
def test_a_text_of_any_length_is_one_whole_message(length: int) -> None:
    text = "x" * length
    reader = Connection(ConnectionType.CLIENT)

    reader.receive_data(text_frame(text.encode()))
    events = list(reader.events())

    assert all(isinstance(event, TextMessage) for event in events)
    assert "".join(event.data for event in events if isinstance(event, TextMessage)) == text
    assert [event.message_finished for event in events if isinstance(event, TextMessage)][-1]


def test_frames_can_follow_one_another() -> None:
    reader = Connection(ConnectionType.CLIENT)

    reader.receive_data(text_frame("é".encode()) + text_frame(b"second"))

    assert [event.data for event in reader.events() if isinstance(event, TextMessage)] == ["é", "second"]
