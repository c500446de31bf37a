"""A page of another origin, in a real browser, with a server that needs a bearer token."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from playwright.sync_api import Page

from tests.browser.conftest import needs_chromium
from tests.conftest import StartServer
from tests.support.client import TERMINAL_TYPES, RunClient, demo_llm, prompt
from tests.support.cutting_proxy import cutting_proxy
from tests.support.gunicorn_server import GunicornServer

API_TOKEN = "api-token-of-the-tests"
SETTINGS: Mapping[str, str] = {"api_token": API_TOKEN, "secret_keys": "key-of-the-tests-" + "k" * 27}
ANSWER = " ".join(f"word{number}" for number in range(200))
CUT_AFTER_BYTES = 30_000

FOLLOWING_PAGE = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>A page from elsewhere</title><link rel="icon" href="data:,">
<script>
"use strict";
const EVENT_TYPES = ["run_started", "pydantic_ai_event", "run_succeeded", "run_failed", "run_cancelled"];
const seen = { ids: [], text: "", opened: 0, errors: 0, ended: null, closed: false };

function follow(url) {
  const source = new EventSource(url);
  source.onopen = () => { seen.opened += 1; };
  source.onerror = () => { seen.errors += 1; seen.closed = source.readyState === EventSource.CLOSED; };
  for (const type of EVENT_TYPES) source.addEventListener(type, (message) => {
    const event = JSON.parse(message.data);
    if (event.id !== message.lastEventId) throw new Error(`${event.id} came as ${message.lastEventId}`);
    seen.ids.push(event.id);
    seen.text += event.agent_message_delta ?? "";
    if (type === "run_started" || type === "pydantic_ai_event") return;
    seen.ended = type;
    source.close();
  });
}

function followBySocket(url) {
  const last = seen.ids.at(-1);
  const socket = new WebSocket(last ? `${url}&after=${last}` : url);
  socket.onopen = () => { seen.opened += 1; };
  socket.onmessage = (message) => {
    const event = JSON.parse(message.data);
    seen.ids.push(event.id);
    seen.text += event.agent_message_delta ?? "";
    if (event.type !== "run_started" && event.type !== "pydantic_ai_event") seen.ended = event.type;
  };
  socket.onclose = ({ code }) => {
    seen.closeCode = code;
    if (seen.ended) return;
    seen.errors += 1;
    if (seen.opened === 0) seen.closed = true;
    else setTimeout(() => followBySocket(url), 100);
  };
}

function followCarelessly(url) {
  const source = new EventSource(url);
  source.onopen = () => { seen.opened += 1; };
  source.onerror = () => { seen.errors += 1; seen.closed = source.readyState === EventSource.CLOSED; };
  for (const type of EVENT_TYPES) source.addEventListener(type, (message) => seen.ids.push(message.lastEventId));
}

async function call(url, options) {
  try {
    const response = await fetch(url, options);
    return { status: response.status, body: await response.json() };
  } catch (error) {
    return { status: 0, body: String(error) };
  }
}
</script></html>"""

pytestmark = needs_chromium


class PageHandler(BaseHTTPRequestHandler):
    """Serves the one page on every path."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(FOLLOWING_PAGE)))
        self.end_headers()
        self.wfile.write(FOLLOWING_PAGE)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing."""


@contextmanager
def page_server() -> Iterator[str]:
    """The origin of a server that serves only the page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), PageHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with page_server() as origin:
        yield origin


@pytest.fixture
def protected(start_server: StartServer, origin: str) -> GunicornServer:
    """A server that needs a bearer token and allows the page's origin."""
    return start_server(SETTINGS, cors_origins=origin)


def make_token(client: RunClient, run_id: str) -> str:
    response: requests.Response = client.session.post(f"{client.url}/runs/{run_id}/stream-tokens", timeout=30)
    assert response.status_code == 201, response.text
    return str(response.json()["token"])


def stream_url(base: str, run_id: str, token: str) -> str:
    return f"{base}/runs/{run_id}/events/sse?token={token}"


def socket_url(base: str, run_id: str, token: str) -> str:
    return f"{base.replace('http://', 'ws://')}/runs/{run_id}/events/ws?token={token}"


def follow_to_the_end(page: Page, url: str) -> dict[str, Any]:
    page.evaluate("url => follow(url)", url)
    page.wait_for_function("() => seen.ended || seen.closed")
    return dict(page.evaluate("() => seen"))


def test_a_page_from_elsewhere_misses_nothing_over_broken_connections(
    page: Page, protected: GunicornServer, origin: str
) -> None:
    owner = RunClient(protected.url, token=API_TOKEN)
    page.goto(origin)
    run_id = owner.create(prompt(), demo_llm(answer=ANSWER, delay_ms=10))
    token = make_token(owner, run_id)

    with cutting_proxy(protected.url, cut_after=CUT_AFTER_BYTES) as proxy:
        seen = follow_to_the_end(page, stream_url(proxy.url, run_id, token))

    stored = owner.page(run_id, limit=500)["events"]
    assert proxy.cuts >= 1
    assert seen["opened"] == proxy.cuts + 1
    assert seen["ended"] == stored[-1]["type"] == "run_succeeded"
    assert seen["ids"] == [event["id"] for event in stored]
    assert seen["text"] == ANSWER


def test_a_page_that_never_closes_its_source_does_not_reconnect_forever(
    page: Page, protected: GunicornServer, origin: str
) -> None:
    owner = RunClient(protected.url, token=API_TOKEN)
    page.goto(origin)
    run_id = owner.create(prompt(), demo_llm(answer="one two three"))

    page.evaluate("url => followCarelessly(url)", stream_url(protected.url, run_id, make_token(owner, run_id)))
    page.wait_for_function("() => seen.closed")
    seen = page.evaluate("() => seen")

    stored = owner.page(run_id, limit=500)["events"]
    assert seen["ids"] == [event["id"] for event in stored]
    # It reconnected once and was told that there is nothing more.
    assert (seen["opened"], seen["errors"]) == (1, 2)


def test_a_page_from_elsewhere_misses_nothing_over_broken_sockets(
    page: Page, protected: GunicornServer, origin: str
) -> None:
    owner = RunClient(protected.url, token=API_TOKEN)
    page.goto(origin)
    run_id = owner.create(prompt(), demo_llm(answer=ANSWER, delay_ms=10))
    token = make_token(owner, run_id)

    with cutting_proxy(protected.url, cut_after=CUT_AFTER_BYTES) as proxy:
        page.evaluate("url => followBySocket(url)", socket_url(proxy.url, run_id, token))
        page.wait_for_function("() => seen.ended && seen.closeCode === 1000 || seen.closed")
        seen = page.evaluate("() => seen")

    stored = owner.page(run_id, limit=500)["events"]
    assert proxy.cuts >= 1
    assert seen["opened"] == proxy.cuts + 1
    assert seen["ended"] == stored[-1]["type"] == "run_succeeded"
    assert seen["ids"] == [event["id"] for event in stored]
    assert seen["text"] == ANSWER


def test_a_socket_without_a_valid_token_is_not_opened(page: Page, protected: GunicornServer, origin: str) -> None:
    owner = RunClient(protected.url, token=API_TOKEN)
    run_id = owner.create(prompt())
    page.goto(origin)

    page.evaluate("url => followBySocket(url)", socket_url(protected.url, run_id, "bad"))
    page.wait_for_function("() => seen.closed")

    assert page.evaluate("() => [seen.opened, seen.ids, seen.closeCode]") == [0, [], 1006]


def test_a_page_of_an_origin_that_is_not_allowed_sees_nothing(page: Page, protected: GunicornServer) -> None:
    owner = RunClient(protected.url, token=API_TOKEN)
    run_id = owner.create(prompt())
    assert owner.finish(run_id)["type"] in TERMINAL_TYPES

    with page_server() as stranger:
        page.goto(stranger)
        seen = follow_to_the_end(page, stream_url(protected.url, run_id, make_token(owner, run_id)))

    assert (seen["closed"], seen["opened"], seen["ids"]) == (True, 0, [])


def test_a_page_gives_up_a_stream_without_a_valid_token(page: Page, protected: GunicornServer, origin: str) -> None:
    owner = RunClient(protected.url, token=API_TOKEN)
    run_id = owner.create(prompt())
    page.goto(origin)

    seen = follow_to_the_end(page, stream_url(protected.url, run_id, "bad"))

    assert (seen["closed"], seen["opened"], seen["ids"]) == (True, 0, [])


def test_a_page_that_has_the_bearer_token_starts_a_run_over_a_preflight(
    page: Page, protected: GunicornServer, origin: str
) -> None:
    options = {
        "method": "POST",
        "headers": {"Authorization": f"Bearer {API_TOKEN}", "Content-Type": "application/json"},
        "body": '{"composition": {"layers": [{"name": "p", "type": "plain.prompt", "config": {"user": "Hello"}}]}}',
    }
    page.goto(origin)

    answer = page.evaluate("([url, options]) => call(url, options)", [f"{protected.url}/runs", options])
    del options["headers"]["Authorization"]  # type: ignore[attr-defined]
    refused = page.evaluate("([url, options]) => call(url, options)", [f"{protected.url}/runs", options])

    assert answer["status"] == 202
    assert answer["body"]["status"] == "running"
    assert (refused["status"], refused["body"]["code"]) == (401, "unauthorized")


def test_no_address_with_a_token_is_sent_as_a_referrer(page: Page, protected: GunicornServer, origin: str) -> None:
    owner = RunClient(protected.url, token=API_TOKEN)
    run_id = owner.create(prompt())
    owner.finish(run_id)
    page.goto(f"{protected.url}/runs/{run_id}?token={make_token(owner, run_id)}")

    with page.expect_request(f"{origin}/next") as next_request:
        page.evaluate("url => { location.href = url }", f"{origin}/next")

    assert "referer" not in next_request.value.all_headers()
