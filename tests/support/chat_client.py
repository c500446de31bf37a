"""A client of ``/v1/chat-messages``, as strict about the wire format as Dify's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests

from tests.support.agent_client import TIMEOUT_SECONDS, AgentClient
from tests.support.service_api import USER, AppClient
from tests.support.session_client import scripted_soul

PING = "event: ping"


@dataclass(frozen=True)
class Answer:
    """The answer to one message: all frames of its turn."""

    frames: list[dict[str, Any]]

    @property
    def text(self) -> str:
        """The text of the answer, put together from the frames as a client does it."""
        text = ""
        for frame in self.frames:
            if frame["event"] in ("message", "agent_message"):
                text += frame["answer"]
            elif frame["event"] == "message_replace":
                text = frame["answer"]
        return text

    @property
    def last(self) -> dict[str, Any]:
        return self.frames[-1]

    @property
    def conversation_id(self) -> str:
        return str(self.last["conversation_id"])

    @property
    def message_id(self) -> str:
        return str(self.last["message_id"])

    def of(self, event: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["event"] == event]


class ChatClient(AppClient):
    """Chats with an agent whose model is scripted under a given name."""

    def __init__(self, roster: AgentClient, model: str, **of_soul: Any) -> None:
        super().__init__(roster, **{"model": scripted_soul(model)["model"], **of_soul})

    def post(self, query: str = "Hello?", user: str = USER, **body: Any) -> requests.Response:
        """Posts a message whose answer is streamed, and returns the open response."""
        sent = {"inputs": {}, "query": query, "user": user, "response_mode": "streaming", **body}
        with requests.Session() as session:
            session.trust_env = False
            url = f"{self.url}/v1/chat-messages"
            return session.post(url, json=sent, headers=self._headers, timeout=TIMEOUT_SECONDS, stream=True)

    def frames(self, query: str = "Hello?", user: str = USER, **body: Any) -> Iterator[dict[str, Any]]:
        """Yields the frames of an answer as they arrive."""
        with self.post(query, user, **body) as response:
            assert response.status_code == 200, response.text
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            yield from parse_chat(response.iter_content(None))

    def say(self, query: str = "Hello?", user: str = USER, **body: Any) -> Answer:
        """Sends a message and reads its answer to the end."""
        return Answer(list(self.frames(query, user, **body)))

    def blocking(self, query: str = "Hello?", status: int = 200, **body: Any) -> dict[str, Any]:
        sent = {"inputs": {}, "query": query, "user": USER, "response_mode": "blocking", **body}
        return self.json("POST", "/v1/chat-messages", status, json=sent)

    def stop(self, task_id: str, user: str = USER) -> None:
        path = f"/v1/chat-messages/{task_id}/stop"
        assert self.json("POST", path, json={"user": user}) == {"result": "success"}

    def messages(self, conversation_id: str, user: str = USER) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/messages", user, conversation_id=conversation_id)["data"]
        return found


def parse_chat(chunks: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Parses frames of one line each. Pings are skipped; anything else is an error."""
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        while b"\n\n" in buffer:
            raw, buffer = buffer.split(b"\n\n", 1)
            line = raw.decode()
            if line == PING:
                continue
            assert line.startswith("data: "), raw
            assert "\n" not in line, raw
            yield json.loads(line.removeprefix("data: "))
    assert buffer == b"", f"the stream ended inside a frame: {buffer!r}"
