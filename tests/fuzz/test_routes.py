"""Whatever is sent to a route, the answer is one of ours, and the server keeps serving."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from app import init_app
from services.agents.requests import (
    ChangeAgentRequest,
    CreateAgentRequest,
    CreateVersionRequest,
    PutTagRequest,
    RunAgentRequest,
)
from services.chat.chat_requests import ChatMessageRequest
from services.chat.requests import FeedbackRequest, OfUser, RenameRequest, SubmitFormRequest
from services.composer.requests import ComposerSaveRequest, ImpactRequest, SaveToRosterRequest
from services.credential_types import PutCredentialRequest
from services.key_types import CreateKeyRequest, RotateKeyRequest
from services.sessions.requests import ChangeSessionRequest, CreateSessionRequest, StartTurnRequest
from services.souls import PortableVersion
from settings import Settings
from tests.fuzz.bodies import CANCELS, STREAM_TOKENS, damaged, run_requests, validations
from tests.fuzz.conftest import ADMIN_TOKEN, API_TOKEN, FUZZED_AGENT, MAX_BYTES, ORIGIN, TENANT, Fuzzed
from tests.fuzz.effort import effort
from tests.fuzz.schemas import TEXTS, values_of
from tests.fuzz.wire import assert_proper, connect, exchange, vanish
from tests.support.socket_client import UPGRADE

UNKNOWN_RUN = "01a1f884-b753-710d-b464-93120ce7b7ee"
NO_BODY = st.just("")
COMPOSER_OF_NODES = "/apps/<app_id>/workflows/draft/nodes/<node_id>/agent-composer"
COMPOSER_OF_APPS = "/apps/<app_id>/agent-composer"
COMPOSER_SAVES = values_of(ComposerSaveRequest)
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
    "/keys": damaged(values_of(CreateKeyRequest)),
    "/keys/<key_id>": NO_BODY,
    "/keys/<key_id>/rotate": damaged(values_of(RotateKeyRequest)),
    COMPOSER_OF_NODES: damaged(COMPOSER_SAVES),
    f"{COMPOSER_OF_NODES}/validate": damaged(COMPOSER_SAVES),
    f"{COMPOSER_OF_NODES}/candidates": NO_BODY,
    f"{COMPOSER_OF_NODES}/impact": damaged(values_of(ImpactRequest)),
    f"{COMPOSER_OF_NODES}/save-to-roster": damaged(values_of(SaveToRosterRequest)),
    COMPOSER_OF_APPS: damaged(COMPOSER_SAVES),
    f"{COMPOSER_OF_APPS}/validate": damaged(COMPOSER_SAVES),
    f"{COMPOSER_OF_APPS}/candidates": NO_BODY,
    "/agents": damaged(values_of(CreateAgentRequest)),
    "/agents/invite-options": NO_BODY,
    "/agents/import": damaged(values_of(PortableVersion)),
    "/agents/<agent_id>": damaged(values_of(ChangeAgentRequest)),
    "/agents/<agent_id>/runs": damaged(values_of(RunAgentRequest)),
    "/agents/<agent_id>/tags": NO_BODY,
    "/agents/<agent_id>/tags/<tag>": damaged(values_of(PutTagRequest)),
    "/agents/<agent_id>/versions": damaged(values_of(CreateVersionRequest)),
    "/agents/<agent_id>/versions/<version_id>": NO_BODY,
    "/agents/<agent_id>/versions/<version_id>/diff/<other_id>": NO_BODY,
    "/agents/<agent_id>/versions/<version_id>/export": NO_BODY,
    "/agents/<agent_id>/versions/<version_id>/restore": NO_BODY,
    "/credentials": NO_BODY,
    "/credentials/<name>": damaged(values_of(PutCredentialRequest)),
    "/sessions": damaged(values_of(CreateSessionRequest)),
    "/sessions/<session_id>": damaged(values_of(ChangeSessionRequest)),
    "/sessions/<session_id>/runs": damaged(values_of(StartTurnRequest)),
    "/sessions/<session_id>/turns": NO_BODY,
    "/sessions/<session_id>/turns/<turn_id>": NO_BODY,
    "/sessions/<session_id>/turns/<turn_id>/chat-events": NO_BODY,
    "/v1": NO_BODY,
    "/v1/chat-messages": damaged(values_of(ChatMessageRequest)),
    "/v1/chat-messages/<task_id>/stop": damaged(values_of(OfUser)),
    "/v1/parameters": NO_BODY,
    "/v1/info": NO_BODY,
    "/v1/meta": NO_BODY,
    "/v1/site": NO_BODY,
    "/v1/conversations": NO_BODY,
    "/v1/conversations/<conversation_id>": damaged(values_of(OfUser)),
    "/v1/conversations/<conversation_id>/name": damaged(values_of(RenameRequest)),
    "/v1/form/human_input/<form_token>": damaged(values_of(SubmitFormRequest)),
    "/v1/messages": NO_BODY,
    "/v1/messages/<message_id>/feedbacks": damaged(values_of(FeedbackRequest)),
    "/v1/messages/<message_id>/suggested": NO_BODY,
    "/health": NO_BODY,
    "/ready": NO_BODY,
}
"""The body texts for each path. Each path is also fuzzed with a slash at its end."""

TENANTED = ("/agents", "/apps", "/credentials", "/keys", "/sessions", "/v1")
OPERATORS = (*TENANTED, "/events", "/structured-output")
SERVICE_API = "/v1"
USUAL_METHODS = {
    "/agents/<agent_id>": "PATCH",
    "/agents/<agent_id>/tags/<tag>": "PUT",
    "/agents/<agent_id>/versions/<version_id>/restore": "POST",
    "/credentials/<name>": "PUT",
    "/keys/<key_id>": "DELETE",
    "/sessions/<session_id>": "PATCH",
    "/v1/conversations/<conversation_id>": "DELETE",
    COMPOSER_OF_NODES: "PUT",
    COMPOSER_OF_APPS: "PUT",
}

METHODS = st.sampled_from(
    ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "M-SEARCH"]
)
CURSORS = st.sampled_from(
    [
        "",
        "0-0",
        "1-1",
        "0",
        "1-",
        "-1",
        "1-1-1",
        "$",
        "*",
        "+",
        "(1-1",
        f"{2**64 - 1}-{2**64 - 1}",
        f"{2**64}-0",
        "9" * 5000,
        "\u0661-\u0661",
        "1-1\x00",
        "01-1",
        " 1-1",
        "1e3-1",
    ]
) | st.builds("{}-{}".format, st.integers(0, 2**64), st.integers(0, 2**64))
LIMITS = st.sampled_from(["", "1", "500", "501", "0", "-1", "+5", " 7 ", "1.0", "1e2", "9" * 100, "\u0661", "x"])
QUERIES = st.dictionaries(
    st.sampled_from(["after", "limit", "token", "a", "user", "conversation_id", "first_id", "last_id", "sort_by"]),
    CURSORS | LIMITS | TEXTS | st.sampled_from(["WyJhIiwxXQ.AAAA", "W10.AAAA", "...", "null.AAAA"]),
    max_size=2,
)
PARAMETERS = QUERIES.map(urlencode)
RAW_QUERIES = st.sampled_from(
    ["after=%", "after=%ff", "after=%00", "after=1-1&after=x", "&&==", "%zz=1", "limit=%f0%9f", "?", "after[]=1"]
)
RUN_IDS = st.sampled_from(
    [
        "..",
        ".",
        "%00",
        "%2F",
        "..%2f..%2fevents",
        "%2e%2e",
        "%ff",
        "*",
        "events",
        "ws",
        "a" * 2000,
        "%0d%0aX: y",
        "{}",
        "%5C%5Ca",
        ";",
        ":a",
        UNKNOWN_RUN,
        UNKNOWN_RUN.upper(),
        UNKNOWN_RUN.replace("-", ""),
        f"%7B{UNKNOWN_RUN}%7D",
        f"urn:uuid:{UNKNOWN_RUN}",
    ]
) | TEXTS.map(lambda text: quote(text, safe=""))
HEADER_TEXTS = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=12) | TEXTS.map(quote)
HEADERS: Mapping[str, st.SearchStrategy[str]] = {
    "Authorization": st.sampled_from(["", "Bearer", "Bearer ", "bearer  x", "Basic YTpi", f"Bearer {API_TOKEN}x"])
    | HEADER_TEXTS,
    "Content-Type": st.sampled_from(
        [
            "",
            "text/plain",
            "application/json; charset=utf-16",
            "application/a+json",
            "application/json\t;;=",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "multipart/form-data; boundary=a",
        ]
    )
    | HEADER_TEXTS,
    "Last-Event-ID": CURSORS.filter(str.isascii) | HEADER_TEXTS,
    "Idempotency-Key": st.sampled_from(["", " ", "k", "k" * 513, "\xff"]) | HEADER_TEXTS,
    "Origin": st.sampled_from(["", "null", ORIGIN, ORIGIN.upper(), "http://[", "http://[::1", "://", "http://a:b:c"])
    | HEADER_TEXTS,
    "Host": st.sampled_from(["", "a:b", "[", "[::1]:x", "a b", "evil.example", "a" * 300, "a:99999", "\xff"])
    | HEADER_TEXTS,
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
FRAMINGS = st.sampled_from(
    ["chunked", "none", "length", "longer", "shorter", "negative", "text", "both", "broken chunks"]
)
SUFFIXES = st.sampled_from(["/", "//", "/..", "/%00", "/x", "%2f", ";a"])


@dataclass(frozen=True)
class Attempt:
    """One request to try."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    framing: str
    cut: int

    def pieces(self) -> list[bytes]:
        headers, body = frame(self.framing, self.body)
        lines = [
            f"{self.method} {self.target} HTTP/1.1",
            *(f"{name}: {value}" for name, value in {**headers, **self.headers}.items()),
        ]
        raw = (
            "\r\n".join([*lines, "", ""]).encode(
                "utf-8" if any(ord(one) > 255 for one in "".join(lines)) else "latin-1"
            )
            + body
        )
        return [raw[: self.cut], raw[self.cut :]]


def frame(framing: str, body: bytes) -> tuple[dict[str, str], bytes]:
    """The headers with the length of a body, correct or not, and the body as it is sent."""
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


def rarely(draw: st.DrawFn, usual: str, odd: st.SearchStrategy[str]) -> str:
    """Mostly the usual value, sometimes an odd one: in a request with many oddities only the first would count."""
    return draw(odd) if draw(st.integers(0, 9)) == 0 else usual


@st.composite
def attempts(draw: st.DrawFn, path: str, *, ended: str, running: str) -> Attempt:
    takes_body = BODIES[path] is not NO_BODY
    thing = rarely(draw, draw(st.sampled_from([ended, running])), RUN_IDS)
    query = draw(st.just("") | PARAMETERS | RAW_QUERIES)
    if path.startswith(SERVICE_API):
        query = f"app_id={FUZZED_AGENT}&{query}"
    target = re.sub("<[a-z_]+>", lambda _: thing, path) + rarely(draw, "", SUFFIXES) + (f"?{query}" if query else "")
    token = ADMIN_TOKEN if path.startswith(OPERATORS) else API_TOKEN
    headers = {"Host": "test", "Authorization": f"Bearer {token}", "Connection": "close"}
    if path.startswith(TENANTED):
        headers["X-Tenant-Id"] = TENANT
    if takes_body:
        headers["Content-Type"] = "application/json"
    if path.endswith("/ws") and draw(st.integers(0, 3)) > 0:
        headers |= UPGRADE
    odd = draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=2, unique=True)) if draw(st.booleans()) else []
    headers |= {name: draw(HEADERS[name]) for name in odd}
    return Attempt(
        method=rarely(draw, USUAL_METHODS.get(path, "POST" if takes_body else "GET"), METHODS),
        target=target,
        headers=headers,
        body=draw(BODIES[path]).encode(rarely(draw, "utf-8", st.just("utf-16")), "surrogatepass"),
        framing=rarely(draw, "length" if takes_body else "none", FRAMINGS),
        cut=draw(st.integers(0, 200)),
    )


@pytest.mark.parametrize("path", BODIES)
def test_no_request_breaks_a_route(fuzzed: Fuzzed, path: str) -> None:
    running = fuzzed.create_running()

    @effort(80 if BODIES[path] is not NO_BODY else 40)
    @given(attempt=attempts(path, ended=fuzzed.ended, running=running))
    def attack(attempt: Attempt) -> None:
        answer = exchange(fuzzed.url, attempt.pieces())
        fuzzed.assert_whole()
        if answer is not None and answer.status != 101:
            assert_proper(answer, method=attempt.method, is_service_api=path.startswith(SERVICE_API))

    attack()
    fuzzed.assert_serves()


def test_every_route_is_fuzzed() -> None:
    flask_app = Flask("routes", static_folder=None)
    init_app(flask_app, Settings())

    assert {rule.rule.rstrip("/") for rule in flask_app.url_map.iter_rules()} == set(BODIES)


@pytest.mark.parametrize(
    "body",
    [
        b"5\r{\r5\r\n",
        b"zz\r\n{}\r\n",
        b"2\r\n{}xx0\r\n\r\n",
        b"-2\r\n{}\r\n",
        b"2;a\x00\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{",
        b"%x\r\n%b\r\nzz\r\n" % (MAX_BYTES, b" " * MAX_BYTES),
        b"%x\r\n%b\r\n" % (MAX_BYTES, b" " * MAX_BYTES),
    ],
    ids=["size", "no size", "no end", "negative", "extension", "cut", "behind the limit", "cut at the limit"],
)
def test_a_body_in_malformed_chunks_is_refused_and_not_logged(fuzzed: Fuzzed, body: bytes) -> None:
    head = f"POST /runs HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {API_TOKEN}\r\nConnection: close\r\n"
    framing = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"

    answer = exchange(fuzzed.url, [(head + framing).encode(), body])

    assert answer is not None
    assert answer.status in (400, 422)
    assert_proper(answer, method="POST")
    fuzzed.assert_whole()


@pytest.mark.parametrize("framing", ["Content-Length: 50\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n32\r\n{"])
def test_a_caller_that_disconnects_inside_a_body_causes_no_error(fuzzed: Fuzzed, framing: str) -> None:
    head = f"POST /runs HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {API_TOKEN}\r\n"
    for _ in range(5):
        with connect(fuzzed.url) as connection:
            connection.sendall((head + framing).encode())
            vanish(connection)

    fuzzed.assert_serves()
