"""WebSocket frames, valid and invalid, and the server's frames in answer."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.wire import PATIENCE, connect
from tests.support.socket_client import UPGRADE

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x01\x02\x03\x04"
MAX_CONTROL_BYTES = 125
LENGTH_BYTES = {126: 2, 127: 8}
BROKEN = (1011).to_bytes(2, "big")
"""The close code that means that the server is broken."""


@dataclass(frozen=True)
class Frame:
    """One frame. ``claimed`` is the length that it claims to have, ``size_of_length`` how that is written."""

    opcode: int = TEXT
    payload: bytes = b""
    is_last: bool = True
    reserved: int = 0
    is_masked: bool = True
    claimed: int | None = None
    size_of_length: int | None = None

    def __bytes__(self) -> bytes:
        length = len(self.payload) if self.claimed is None else self.claimed
        kind = (
            self.size_of_length or (126 if length < 65536 else 127)
            if length > MAX_CONTROL_BYTES or self.size_of_length
            else length
        )
        head = bytes([self.is_last << 7 | self.reserved << 4 | self.opcode, self.is_masked << 7 | kind])
        if kind in LENGTH_BYTES:
            head += (length % 256 ** LENGTH_BYTES[kind]).to_bytes(LENGTH_BYTES[kind], "big")
        if not self.is_masked:
            return head + self.payload
        return head + MASK + bytes(one ^ MASK[place % 4] for place, one in enumerate(self.payload))


CLOSE_PAYLOADS = st.sampled_from(
    [
        b"",
        b"\x03",
        b"\x03\xe8",
        b"\x03\xe8bye",
        b"\x00\x00",
        b"\x03\xed",
        b"\x03\xee",
        b"\xff\xff",
        b"\x03\xe8\xff",
        b"\x0b\xb8" + b"a" * 123,
    ]
)
ODD_PAYLOADS = st.binary(max_size=20) | st.sampled_from(
    [b"\xff\xfe", b"\xed\xa0\x80", b"\xc3", b"a" * 126, b"a" * 70_000, b"\x00" * 300]
)


def frames(messages: st.SearchStrategy[str]) -> st.SearchStrategy[list[Frame]]:
    """A few frames: mostly messages, whole or in parts, with anything that may go wrong in between."""
    texts = messages.map(lambda text: text.encode("utf-8", "surrogatepass"))
    whole = texts.map(lambda text: [Frame(TEXT, text)])
    parted = st.builds(_parts, texts, st.integers(0, 40), st.sampled_from([None, PING, CLOSE, TEXT]))
    control = st.builds(Frame, st.sampled_from([PING, PONG]), st.binary(max_size=125)).map(lambda one: [one])
    closing = st.builds(Frame, st.just(CLOSE), CLOSE_PAYLOADS).map(lambda one: [one])
    odd = st.builds(
        Frame,
        st.integers(0, 15),
        texts | ODD_PAYLOADS,
        st.booleans(),
        st.sampled_from([0, 0, 0, 1, 2, 4, 7]),
        st.sampled_from([True, True, True, False]),
        st.sampled_from([None, None, None, 0, 126, 65_536, 2**31, 2**63, 2**64 - 1]),
        st.sampled_from([None, None, 126, 127]),
    ).map(lambda one: [one])
    groups = st.lists(st.one_of(whole, whole, whole, parted, control, closing, odd), max_size=8)
    return groups.map(lambda found: [one for group in found for one in group])


def _parts(text: bytes, at: int, between: int | None) -> list[Frame]:
    first, rest = Frame(TEXT, text[:at], is_last=False), Frame(CONTINUATION, text[at:])
    return [first, rest] if between is None else [first, Frame(between, b""), rest]


def converse(url: str, path: str, token: str, sent: Sequence[Frame], *, cut: int) -> bytes:
    """Sends these frames, in two pieces, closes, and returns all that the server sends after the handshake."""
    with connect(url) as connection:
        headers = {"Host": "test", "Authorization": f"Bearer {token}", **UPGRADE}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        connection.sendall("\r\n".join(lines).encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += (data := connection.recv(65536))
            assert data, f"no answer to the handshake: {received!r}"
        assert received.startswith(b"HTTP/1.1 101 "), received
        raw = b"".join(map(bytes, sent))
        with suppress(OSError):  # the server may have closed after an earlier frame
            connection.sendall(raw[:cut])
            connection.sendall(raw[cut:])
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(PATIENCE)
        with suppress(ConnectionResetError):
            while data := connection.recv(65536):
                received += data
    return received.partition(b"\r\n\r\n")[2]


def read_frames(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the opcode and payload of each frame of a server. The frames must be valid and complete."""
    while raw:
        assert raw[0] >> 4 == 8, f"a frame that is not the last, or has reserved bits: {raw[:20]!r}"
        opcode, length, start = raw[0] & 15, raw[1], 2
        assert opcode in (TEXT, CLOSE, PING, PONG), raw[:20]
        assert length < 128, "a server masks nothing"
        if length in LENGTH_BYTES:
            start += LENGTH_BYTES[length]
            length = int.from_bytes(raw[2:start], "big")
        assert opcode == TEXT or length <= MAX_CONTROL_BYTES
        assert len(raw) >= start + length, "the stream ended inside a frame"
        yield opcode, raw[start : start + length]
        raw = raw[start + length :]


def assert_sound(raw: bytes) -> list[dict[str, Any]]:
    """Asserts that each message is a JSON object with a type, and that nothing follows a close; returns them."""
    messages = []
    closed: bytes | None = None
    for opcode, payload in read_frames(raw):
        assert closed is None, f"{opcode} {payload!r} after the close {closed!r}"
        if opcode == TEXT:
            message = json.loads(payload.decode())
            assert isinstance(message["type"], str)
            assert message["type"] != "error" or {"code", "message"} <= set(message)
            messages.append(message)
        elif opcode == CLOSE:
            closed = payload
            assert not payload.startswith(BROKEN), payload
            payload[2:].decode()
    return messages
