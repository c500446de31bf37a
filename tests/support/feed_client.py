"""A client of the dashboard's feed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from simple_websocket import ConnectionClosed

from tests.support.client import TERMINAL_TYPES
from tests.support.socket_client import DEADLINE_SECONDS, WholeClient

Message = dict[str, Any]

EVENT_TYPES = {"run_started", "pydantic_ai_event", *TERMINAL_TYPES}


class FeedClient:
    """One connection to the feed. ``messages`` has all messages received, ``closed`` the code and reason of the end.

    With a ``gate`` it reads nothing from the socket until the gate is set.
    """

    def __init__(
        self, url: str, *, token: str | None = None, query: str = "", gate: threading.Event | None = None
    ) -> None:
        class GatedThread(threading.Thread):
            def run(self) -> None:
                if gate is not None:
                    gate.wait()
                super().run()

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        address = f"{url.replace('http://', 'ws://')}/events/ws{query}"
        self.client = WholeClient.connect(address, headers=headers, thread_class=GatedThread)
        self.messages: list[Message] = []
        self.closed: tuple[int, str] | None = None

    def send(self, message: object) -> None:
        """Sends text as it is, bytes as a binary message, and anything else as JSON."""
        self.client.send(message if isinstance(message, str | bytes) else json.dumps(message))

    def subscribe(self, run_id: str, **more: Any) -> None:
        self.send({"type": "subscribe", "run_id": run_id, **more})

    def receive(self) -> Message:
        """Returns the next message. Raises ``ConnectionClosed`` when the connection has ended."""
        try:
            text = self.client.receive(timeout=DEADLINE_SECONDS)
        except ConnectionClosed as closed:
            self.closed = (int(closed.reason), closed.message or "")
            raise
        assert isinstance(text, str), f"received {text!r}"
        message: Message = json.loads(text)
        self.messages.append(message)
        return message

    def receive_until(self, wanted: Callable[[Message], bool]) -> Message:
        while not wanted(message := self.receive()):
            pass
        return message

    def wait_for(self, kind: str, **fields: Any) -> Message:
        """Receives messages up to the first of this type with these fields, and returns that one."""
        fields["type"] = kind
        return self.receive_until(lambda message: fields.items() <= message.items())

    def wait_for_run(self, run_id: str, status: str) -> Message:
        """Receives messages up to the list's message of this type about this run."""
        return self.receive_until(
            lambda message: (
                message["type"] == "run" and (message["run"]["run_id"], message["run"]["status"]) == (run_id, status)
            )
        )

    def follow_runs(self, **after: Any) -> list[Message]:
        """Subscribes to the list and returns the runs of its snapshot."""
        self.send({"type": "subscribe_runs", **after})
        assert self.wait_for("subscribed_runs")["resumed"] is False
        runs: list[Message] = []
        while True:
            page = self.wait_for("runs")
            runs += page["runs"]
            if not page["more"]:
                return runs

    def rest(self) -> list[Message]:
        """Receives all messages until the connection ends."""
        begun = len(self.messages)
        with suppress(ConnectionClosed):
            self.receive_until(lambda _: False)
        return self.messages[begun:]

    def events_of(self, run_id: str) -> list[Message]:
        """The events of one run among the messages received."""
        return [one for one in self.messages if one["type"] in EVENT_TYPES and one["run_id"] == run_id]

    def close(self) -> None:
        if self.client.connected:
            self.client.close()
        self.client.thread.join(DEADLINE_SECONDS)
