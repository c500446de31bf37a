"""Posts a run and prints its text as it comes, over a WebSocket: python examples/websocket.py "What can you do?"

A broken connection is opened again with the id of the last event received, so that no event is missing or repeated.
Ctrl-C cancels the run over the same connection.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import requests
from simple_websocket import Client, ConnectionClosed, ConnectionError
from wsproto.utilities import RemoteProtocolError

REQUEST_TIMEOUT_SECONDS = 30
PING_SECONDS = 20
"""A server that does not answer a ping for this long is gone."""

RETRY_SECONDS = 0.5
MAX_FRUITLESS_TRIES = 20
TERMINAL_TYPES = {"run_succeeded", "run_failed", "run_cancelled"}

Event = dict[str, Any]


class EventClient(Client):
    """simple-websocket's client, which otherwise loses what comes together with the answer to the handshake."""

    def _thread(self) -> None:
        self.connected = self._handle_events()
        super()._thread()


def main() -> int:
    options = parse_options()
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    url = options.url.rstrip("/")

    composition = {"layers": [{"name": "prompt", "type": "plain.prompt", "config": {"user": options.prompt}}]}
    response = requests.post(
        f"{url}/runs", json={"composition": composition}, headers=headers, timeout=REQUEST_TIMEOUT_SECONDS
    )
    if not response.ok:
        sys.exit(f"POST {response.url} answered {response.status_code}: {response.text.strip()}")

    socket_url = f"ws{url.removeprefix('http')}/runs/{response.json()['run_id']}/events/ws"
    event: Event = {}
    for event in follow(socket_url, headers):
        print(event.get("agent_message_delta") or "", end="", flush=True)
    print()
    if event["type"] != "run_succeeded":
        print(f"{event['type']}: {event['data'].get('error') or event['data']}", file=sys.stderr)
        return 1
    return 0


def follow(url: str, headers: dict[str, str]) -> Iterator[Event]:
    """Yields every event of a run once, up to the terminal one, over as many connections as it takes."""
    last_id = "0-0"
    tries = 0
    while tries < MAX_FRUITLESS_TRIES:
        tries += 1
        try:
            client = EventClient.connect(f"{url}?after={last_id}", headers=headers, ping_interval=PING_SECONDS)
            for event in read_connection(client):
                last_id = event["id"]
                tries = 0
                yield event
                if event["type"] in TERMINAL_TYPES:
                    return
        except ConnectionError as error:
            if error.status_code is not None and 400 <= error.status_code < 500:
                sys.exit(f"GET {url} answered {error.status_code}")  # a retry would not change it
            print(f"\n[no connection: {error}]", file=sys.stderr)
        except (ConnectionClosed, RemoteProtocolError, OSError) as error:
            print(f"\n[the connection broke: {error}]", file=sys.stderr)
        time.sleep(RETRY_SECONDS)
    sys.exit(f"gave up after {tries} tries without a new event")


def read_connection(client: Client) -> Iterator[Event]:
    """Yields the events of this one connection. Raises ConnectionClosed at its end."""
    try:
        while True:
            try:
                message = json.loads(client.receive())
            except KeyboardInterrupt:
                client.send(json.dumps({"type": "cancel", "reason": "user"}))
                continue
            if message["type"] == "error":
                sys.exit(f"the server refused a message: {message['message']}")
            yield message
    finally:
        if client.connected:
            client.close()


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Post a run and print its text as it comes.")
    parser.add_argument("--url", default="http://127.0.0.1:5050", help="the server (default: %(default)s)")
    parser.add_argument("--token", help="bearer token, when the server asks for one")
    parser.add_argument("prompt", nargs="?", default="What can you do?")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
