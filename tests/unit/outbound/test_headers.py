"""Which headers callers may give."""

from __future__ import annotations

import pytest

from runtime.outbound.headers import CREDENTIALS, MAX_HEADERS, check_headers

OURS = [
    "Transfer-Encoding", "transfer-encoding", "TRANSFER_ENCODING", "Content-Length", "Content_Length", "Host",
    "Connection",
    "Keep-Alive", "TE", "Trailer", "Upgrade", "Proxy-Authorization", "Proxy-Connection", "Expect", "Accept-Encoding",
    "Content-Encoding", "HTTP2-Settings",
]  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_a_header_that_frames_or_routes_a_message_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"^has a header that is set by the connection: {name.lower()}$"):
        check_headers({"X-Fine": "yes", name: "canary"})


@pytest.mark.parametrize("value", ["a\r\nHost: b", "a\nb", "a\x00b", "a\x7fb", "a\x0bb", "é", "a" * 9000])
def test_a_value_that_http_cannot_send_is_refused_and_not_told(value: str) -> None:
    with pytest.raises(ValueError, match=r"^has a header whose value HTTP cannot send: x-mine$"):
        check_headers({"X-Mine": value})


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "é"])
def test_a_name_that_http_cannot_send_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name HTTP cannot send"):
        check_headers({name: "yes"})


def test_credentials_are_refused_where_a_layer_has_its_own() -> None:
    check_headers({"Authorization": "Bearer key"})

    with pytest.raises(ValueError, match="authorization"):
        check_headers({"AUTHORIZATION": "Bearer key"}, refused=CREDENTIALS)


def test_there_are_so_many_headers_at_most() -> None:
    headers = {f"X-{number}": "yes" for number in range(MAX_HEADERS)}
    check_headers(headers)

    with pytest.raises(ValueError, match="more than 32"):
        check_headers({**headers, "X-More": "yes"})
