"""The chat reader printed in docs/service-api.md, unchanged, in pages of other origins."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from werkzeug import Response
from werkzeug.serving import make_server

from tests.browser.conftest import needs_chromium
from tests.conftest import environment
from tests.support.agent_client import ADMIN_TOKEN, AgentClient
from tests.support.agent_server import SECRET_KEYS
from tests.support.chat_client import Answer, ChatClient
from tests.support.databases import SQLITE
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer
from tests.support.service_api import USER
from tests.support.session_client import says, says_and_waits

DOCUMENTED = Path(__file__).parents[2] / "docs" / "service-api.md"
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>A chat</title><link rel="icon" href="data:,">
<script>
"use strict";
%s
let seen;

async function show(...given) {
  const mine = seen = { frames: [], error: null, hasEnded: false };
  try {
    for await (const frame of chatFrames(...given)) mine.frames.push(frame);
  } catch (error) {
    mine.error = String(error);
  }
  mine.hasEnded = true;
}

async function call(method, url, key, body) {
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
  const response = await fetch(url, { method, headers, body: JSON.stringify(body) });
  return response.status;
}
</script></html>"""

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def database_kind() -> str:
    return SQLITE


@contextmanager
def page_server() -> Iterator[str]:
    """The origin of a server that serves only the page."""
    (printed,) = re.findall(r"^```js\n(.*?)^```$", DOCUMENTED.read_text(), re.MULTILINE | re.DOTALL)
    server = make_server("127.0.0.1", 0, Response(PAGE % printed, mimetype="text/html"), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with page_server() as origin:
        yield origin


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@dataclass(frozen=True)
class Chat:
    """An app, as used by its owner and by a page in a browser."""

    client: ChatClient
    page: Page
    key: str

    def send(self, query: str = "Hello?", **body: Any) -> None:
        """Sends a message and begins to read the answer."""
        given = {"inputs": {}, "query": query, "user": USER, "response_mode": "streaming", **body}
        self._show(f"{self.client.url}/v1/chat-messages", given)

    def follow(self, conversation_id: str, message_id: str) -> None:
        """Begins to read a message from its beginning."""
        self._show(f"{self.client.url}/sessions/{conversation_id}/turns/{message_id}/chat-events")

    def _show(self, url: str, *body: dict[str, Any]) -> None:
        self.page.evaluate("given => { show(...given); }", [url, self.key, *body])

    def has_seen(self, frames: int) -> list[dict[str, Any]]:
        self.page.wait_for_function("count => seen.frames.length >= count || seen.hasEnded", arg=frames)
        return list(self.page.evaluate("() => seen.frames"))

    def end(self) -> Answer:
        assert self.error() is None
        return Answer(self.page.evaluate("() => seen.frames"))

    def error(self) -> str | None:
        self.page.wait_for_function("() => seen.hasEnded")
        error: str | None = self.page.evaluate("() => seen.error")
        return error

    def call(self, method: str, path: str, body: dict[str, Any], key: str | None = None) -> int:
        """Sends a request from the page and returns the answer."""
        given = [method, f"{self.client.url}{path}", key or self.key, body]
        return int(self.page.evaluate("given => call(...given)", given))


@pytest.fixture(scope="module")
def agent_server(
    redis_server: RedisServer, daemon: ScriptedDaemon, database_url: str, origin: str
) -> Iterator[GunicornServer]:
    """A server that allows the page's origin, instead of the usual one that allows none."""
    env = environment(
        redis_server.url,
        daemon.url,
        redis_prefix="chat-page",
        cors_origins=origin,
        admin_token=ADMIN_TOKEN,
        database_url=database_url,
        secret_keys=SECRET_KEYS,
    )
    with running_server(env, workers=2) as server:
        yield server


@pytest.fixture
def chat(page: Page, roster: AgentClient, origin: str, model: str) -> Chat:
    client = ChatClient(roster, model)
    made = roster.json("POST", "/keys", 201, json={"kind": "app", "agent_id": client.agent_id})
    page.goto(origin)
    return Chat(client, page, made["key"])


def test_a_page_from_elsewhere_reads_an_answer_while_the_model_speaks(
    chat: Chat, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says_and_waits("Grüezi", until=model, then=" wohl 🙂"), says("Gern."))

    chat.send()
    (first,) = chat.has_seen(1)
    daemon.release(model)
    answer = chat.end()
    chat.send("Danke", conversation_id=answer.conversation_id)
    second = chat.end()

    assert first["answer"] == "Grüezi"
    assert (answer.text, answer.last["event"]) == ("Grüezi wohl 🙂", "message_end")
    assert (second.text, second.conversation_id) == ("Gern.", answer.conversation_id)


def test_a_page_that_was_loaded_anew_reads_the_answer_from_its_beginning(
    chat: Chat, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says_and_waits("Once", until=model, then=" more"))
    chat.send()
    (first,) = chat.has_seen(1)

    chat.page.reload()
    chat.follow(first["conversation_id"], first["message_id"])
    (again,) = chat.has_seen(1)
    daemon.release(model)
    answer = chat.end()

    assert again == first
    assert (answer.text, answer.last["event"]) == ("Once more", "message_end")

    chat.follow(answer.conversation_id, answer.message_id)
    assert chat.end().text == "Once more"


def test_a_page_changes_and_deletes_over_preflights(
    chat: Chat, roster: AgentClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("ok"))
    workspace = roster.json("POST", "/keys", 201, json={"kind": "workspace"})["key"]
    chat.send()
    conversation = chat.end().conversation_id

    renamed = chat.call("PATCH", f"/sessions/{conversation}", {"name": "Rome"}, key=workspace)
    deleted = chat.call("DELETE", f"/v1/conversations/{conversation}", {"user": USER})

    assert (renamed, deleted) == (200, 204)
    assert chat.client.get("/conversations")["data"] == []


def test_a_page_can_read_why_it_was_refused(chat: Chat) -> None:
    chat.send(user=None)
    assert chat.error() == "Error: Arg user must be provided."

    replace(chat, key="app-wrong").send()
    assert chat.error() == "Error: a valid bearer token is required"


def test_a_page_of_an_origin_that_is_not_allowed_reads_nothing(chat: Chat, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))
    answer = chat.client.say()

    with page_server() as stranger:
        chat.page.goto(stranger)
        chat.send()
        sent = chat.error()
        chat.follow(answer.conversation_id, answer.message_id)
        followed = chat.error()

    assert sent == followed == "TypeError: Failed to fetch"
    assert len(daemon.calls(model)) == 1
