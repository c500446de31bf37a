"""Which headers a caller may give to the calls that are made for them: one list for all layers."""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_HEADERS = 32
MAX_HEADER_CHARS = 8192

CREDENTIALS = frozenset({"authorization"})
"""What the credentials of a layer set, where it has any."""

OURS = frozenset(
    {
        # how the connection is used
        "connection", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
        "te", "trailer", "upgrade",
        # where a message ends, and what is in it
        "content-encoding", "content-length", "content-type", "expect", "transfer-encoding",
        # what is asked for
        "accept", "accept-encoding", "host", "last-event-id", "range",
    }
)  # fmt: skip
"""What this server sets itself. A connection may serve the next request: whoever could say where a message on it ends
could choose what the next one is answered with."""

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t -~]*")


def check_headers(
    headers: Mapping[str, str], *, refused: frozenset[str] = frozenset(), refused_prefix: str | None = None
) -> None:
    """Raise ValueError, with a text for the caller, for headers that a call may not be given.

    Beside those that this server sets itself, and what HTTP cannot send, such as control characters, these are the
    ``refused`` ones and those that begin with ``refused_prefix``. The text names the header, and never its value.
    """
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"has more than {MAX_HEADERS} headers")
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError("has a header whose name HTTP cannot send")
        # Some servers take one for the other.
        plain = name.lower().replace("_", "-")
        if plain in OURS or plain in refused or (refused_prefix and plain.startswith(refused_prefix)):
            raise ValueError(f"has a header that is set by the connection: {name.lower()}")
        if not _VALUE.fullmatch(value) or len(value) > MAX_HEADER_CHARS:
            raise ValueError(f"has a header whose value HTTP cannot send: {name.lower()}")
