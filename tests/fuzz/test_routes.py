"""Whatever is sent to a route, the answer is one of ours, and the server goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from app import init_app
from settings import Settings
from tests.fuzz.bodies import CANCELS, STREAM_TOKENS, damaged, run_requests, validations
from tests.fuzz.conftest import ADMIN_TOKEN, API_TOKEN, ORIGIN, Fuzzed
from tests.fuzz.effort import effort
from tests.fuzz.schemas import TEXTS
from tests.fuzz.wire import Answer, assert_proper, exchange

UNKNOWN_RUN = "01a1f884-b753-710d-b464-93120ce7b7ee"
NO_BODY = st.just("")
BODIES: Mapping[str, st.SearchStrategy[Any]] = {
    "/runs": damaged(run_requests()),
    "/runs/<run_id>": NO_BODY,
    "/runs/<run_id>/cancel": damaged(CANCELS),
    "/runs/<run_id>/stream-tokens": damaged(STREAM_TOKENS),
    "/runs/<run_id>/events": NO_BODY,
    "/runs/<run_id>/events/sse": NO_BODY,
    "/runs/<run_id>/events/ws": NO_BODY,
    "/events/ws": NO_BODY,
    "/events/stream-tokens": damaged(STREAM_TOKENS),
    "/structured-output/validate": damaged(validations()),
    "/health": NO_BODY,
    "/ready": NO_BODY,
}
"""The text of a body for each path. Each is fuzzed with a slash at its end as well."""

OPERATORS = ("/events", "/structured-output")

METHODS = st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "M-SEARCH"])
CURSORS = st.sampled_from(
    ["", "0-0", "1-1", "0", "1-", "-1", "1-1-1", "$", "*", "+", "(1-1", f"{2**64 - 1}-{2**64 - 1}", f"{2**64}-0", "9" * 5000]
    + ["\u0661-\u0661", "1-1\x00", "01-1", " 1-1", "1e3-1"]
) | st.builds("{}-{}".format, st.integers(0, 2**64), st.integers(0, 2**64))
LIMITS = st.sampled_from(["", "1", "500", "501", "0", "-1", "+5", " 7 ", "1.0", "1e2", "9" * 100, "\u0661", "x"])
QUERIES = st.dictionaries(
    st.sampled_from(["after", "limit", "token", "a"]),
    CURSORS | LIMITS | TEXTS | st.sampled_from(["WyJhIiwxXQ.AAAA", "W10.AAAA", "...", "null.AAAA"]),
    max_size=2,
)
RAW_QUERIES = st.sampled_from(["after=%", "after=%ff", "after=%00", "after=1-1&after=x", "&&==", "%zz=1", "limit=%f0%9f", "?", "after[]=1"])
RUN_IDS = st.sampled_from(
    ["..", ".", "%00", "%2F", "..%2f..%2fevents", "%2e%2e", "%ff", "*", "events", "ws", "a" * 2000, "%0d%0aX: y", "{}", "%5C%5Ca", ";", ":a"]
    + [UNKNOWN_RUN, UNKNOWN_RUN.upper(), UNKNOWN_RUN.replace("-", ""), f"%7B{UNKNOWN_RUN}%7D", f"urn:uuid:{UNKNOWN_RUN}"]
) | TEXTS.map(lambda text: quote(text, safe=""))
HEADER_TEXTS = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=12) | TEXTS.map(quote)
HEADERS: Mapping[str, st.SearchStrategy[str]] = {
    "Authorization": st.sampled_from(["", "Bearer", "Bearer ", "bearer  x", "Basic YTpi", f"Bearer {API_TOKEN}x"]) | HEADER_TEXTS,
    "Content-Type": st.sampled_from(
        ["", "text/plain", "application/json; charset=utf-16", "application/a+json", "multipart/form-data; boundary=a"]
        + ["application/x-www-form-urlencoded", "application/json\t;;=", "multipart/form-data"]
    )
    | HEADER_TEXTS,
    "Last-Event-ID": CURSORS.filter(str.isascii) | HEADER_TEXTS,
    "Idempotency-Key": st.sampled_from(["", " ", "k", "k" * 513, "\xff"]) | HEADER_TEXTS,
    "Origin": st.sampled_from(["", "null", ORIGIN, ORIGIN.upper(), "http://[", "http://[::1", "://", "http://a:b:c"]) | HEADER_TEXTS,
    "Host": st.sampled_from(["", "a:b", "[", "[::1]:x", "a b", "evil.example", "a" * 300, "a:99999", "\xff"]) | HEADER_TEXTS,
    "Upgrade": st.sampled_from(["websocket", "h2c", "WebSocket, x"]),
    "Connection": st.sampled_from(["Upgrade", "keep-alive, Upgrade", "close", "\xff"]),
    "Sec-WebSocket-Version": st.sampled_from(["13", "8", "", "13, 8"]),
    "Sec-WebSocket-Key": st.sampled_from(["MDEyMzQ1Njc4OWFiY2RlZg==", "", "a", "====", "\xff" * 24]),
    "Access-Control-Request-Method": st.sampled_from(["POST", "", "x y"]),
    "X-Forwarded-For": st.sampled_from(["", ",", "1.2.3.4", "::1, x", "[::1]:5"]) | HEADER_TEXTS,
    "X-Forwarded-Proto": st.sampled_from(["https", "ftp", ""]),
    "Expect": st.sampled_from(["100-continue", "x"]),
    "Accept": HEADER_TEXTS,
    "Cookie": HEADER_TEXTS,
    "Range": st.sampled_from(["bytes=0-", "bytes=-1", "x"]),
    "If-None-Match": HEADER_TEXTS,
    "If-Modified-Since": st.sampled_from(["x", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 99 Nov 99999 99:99:99 GMT"]),
}
FRAMINGS = ["length", "length", "length", "length", "chunked", "none", "longer", "shorter", "negative", "text", "both", "broken chunks"]


@dataclass(frozen=True)
class Attempt:
    """One request."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    framing: str
    cut: int

    def pieces(self) -> list[bytes]:
        headers, body = frame(self.framing, self.body)
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in {**headers, **self.headers}.items())]
        raw = "\r\n".join([*lines, "", ""]).encode("utf-8" if any(ord(one) > 255 for one in "".join(lines)) else "latin-1") + body
        return [raw[: self.cut], raw[self.cut :]]


def frame(framing: str, body: bytes) -> tuple[dict[str, str], bytes]:
    """The headers that tell how long a body is, rightly or not, and the body as it is sent."""
    size = len(body)
    match framing:
        case "length":
            return {"Content-Length": str(size)}, body
        case "none":
            return {}, body
        case "longer":
            return {"Content-Length": str(size + 5)}, body
        case "shorter":
            return {"Content-Length": str(size // 2)}, body
        case "negative":
            return {"Content-Length": "-1"}, body
        case "text":
            return {"Content-Length": "five"}, body
        case "both":
            return {"Content-Length": str(size), "Transfer-Encoding": "chunked"}, chunks(body)
        case "broken chunks":
            return {"Transfer-Encoding": "chunked"}, chunks(body).replace(b"\r\n", b"\r", 2)[:-3] + b"xyz\r\n"
        case _:
            return {"Transfer-Encoding": "chunked"}, chunks(body)


def chunks(body: bytes) -> bytes:
    half = len(body) // 2
    parts = [part for part in (body[:half], body[half:]) if part]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@st.composite
def attempts(draw: st.DrawFn, path: str, *, ended: str, running: str) -> Attempt:
    run_id = draw(st.sampled_from([ended, ended, running]) | RUN_IDS)
    target = path.replace("<run_id>", run_id) + draw(st.sampled_from(["", "", "", "", "", "/", "//", "/..", "/%00", "/x"]))
    if query := draw(st.just("") | RAW_QUERIES | QUERIES.map(lambda parts: "&".join(f"{key}={quote(value)}" for key, value in parts.items()))):
        target = f"{target}?{query}"
    takes_body = BODIES[path] is not NO_BODY
    usual = "POST" if takes_body else "GET"
    token = ADMIN_TOKEN if path.startswith(OPERATORS) else API_TOKEN
    headers = {"Host": "test", "Authorization": f"Bearer {token}", "Connection": "close"}
    if takes_body:
        headers["Content-Type"] = "application/json"
    odd = draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=3, unique=True)) if draw(st.booleans()) else []
    headers |= {name: draw(HEADERS[name]) for name in odd}
    if path.endswith("/ws") and draw(st.integers(0, 3)) > 0:
        upgrade = ("Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key")
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        headers |= {"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==", **{name: draw(HEADERS[name]) for name in upgrade if name in odd}}
    body = draw(BODIES[path])
    return Attempt(
        method=draw(st.sampled_from([usual] * 7) | METHODS),
        target=target,
        headers=headers,
        body=body.encode(draw(st.sampled_from(["utf-8"] * 9 + ["utf-16"])), "surrogatepass"),
        framing=draw(st.sampled_from(FRAMINGS)) if takes_body else draw(st.sampled_from(["none"] * 5 + FRAMINGS)),
        cut=draw(st.integers(0, 200)),
    )


def has_a_whole_head(attempt: Attempt) -> bool:
    return True


@pytest.mark.parametrize("path", BODIES)
def test_no_request_breaks_a_route(fuzzed: Fuzzed, path: str) -> None:
    running = fuzzed.create_running()
    statuses: dict[int, int] = {}

    @effort(80 if BODIES[path] is not NO_BODY else 40)
    @given(attempt=attempts(path, ended=fuzzed.ended, running=running))
    def attack(attempt: Attempt) -> None:
        answer = exchange(fuzzed.url, attempt.pieces())
        statuses[answer.status if answer else 0] = statuses.get(answer.status if answer else 0, 0) + 1
        if answer is not None and answer.status != 101:
            assert_proper(answer, method=attempt.method)
        fuzzed.assert_whole()

    attack()
    print(path, statuses)
    fuzzed.assert_serves()


def test_every_route_is_fuzzed() -> None:
    flask_app = Flask("routes", static_folder=None)
    init_app(flask_app, Settings(_env_file=None))

    assert {rule.rule.rstrip("/") for rule in flask_app.url_map.iter_rules()} == set(BODIES)
