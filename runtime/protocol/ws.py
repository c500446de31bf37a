"""WebSocket messages, as pure functions of what is stored."""

from __future__ import annotations

from struct import pack

_WHOLE_TEXT = 0x81
_TWO_BYTES_FOLLOW = 126
_EIGHT_BYTES_FOLLOW = 127


def text_frame(payload: bytes) -> bytes:
    """Returns a server's text message in one frame, not masked and not compressed. ``payload`` is UTF-8."""
    length = len(payload)
    if length < _TWO_BYTES_FOLLOW:
        return pack("!BB", _WHOLE_TEXT, length) + payload
    if length < 1 << 16:
        return pack("!BBH", _WHOLE_TEXT, _TWO_BYTES_FOLLOW, length) + payload
    return pack("!BBQ", _WHOLE_TEXT, _EIGHT_BYTES_FOLLOW, length) + payload
