"""Posts a run and prints its text as it comes, over server-sent events: python examples/stream.py "What can you do?"

A broken connection is opened again with the id of the last event received, so that no event is missing or repeated.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import requests

REQUEST_TIMEOUT_SECONDS = 30
SILENCE_SECONDS = 40
"""An idle stream sends a comment every 15 s; after a longer silence the connection is dead."""

READ_BYTES = 512
"""The most bytes of one read.

Whatever comes is returned at once, without waiting for more; larger reads would lose more when a connection breaks.
"""

RETRY_SECONDS = 0.5
MAX_FRUITLESS_TRIES = 20
TERMINAL_TYPES = {"run_succeeded", "run_failed", "run_cancelled"}

Event = dict[str, Any]


def main() -> int:
    options = parse_options()
    session = requests.Session()
    if options.token:
        session.headers["Authorization"] = f"Bearer {options.token}"
    runs = f"{options.url.rstrip('/')}/runs"

    composition = {"layers": [{"name": "prompt", "type": "plain.prompt", "config": {"user": options.prompt}}]}
    response = session.post(runs, json={"composition": composition}, timeout=REQUEST_TIMEOUT_SECONDS)
    refuse_client_error(response)
    response.raise_for_status()

    event: Event = {}
    for event in follow(session, f"{runs}/{response.json()['run_id']}/events/sse"):
        print(event.get("agent_message_delta") or "", end="", flush=True)
    print()
    if event["type"] != "run_succeeded":
        print(f"{event['type']}: {event['data'].get('error') or event['data']}", file=sys.stderr)
        return 1
    return 0


def follow(session: requests.Session, url: str) -> Iterator[Event]:
    """Yields every event of a run once, up to the terminal one, over as many connections as it takes."""
    last_id = "0-0"
    tries = 0
    while tries < MAX_FRUITLESS_TRIES:
        tries += 1
        try:
            for event in read_connection(session, url, last_id):
                last_id = event["id"]
                tries = 0
                yield event
                if event["type"] in TERMINAL_TYPES:
                    return
        except requests.RequestException as error:
            print(f"\n[the connection broke: {type(error).__name__}]", file=sys.stderr)
        time.sleep(RETRY_SECONDS)
    sys.exit(f"gave up after {tries} tries without a new event")


def read_connection(session: requests.Session, url: str, last_id: str) -> Iterator[Event]:
    """Yields the events after ``last_id`` that come over this one connection."""
    headers = {"Last-Event-ID": last_id}
    timeout = (REQUEST_TIMEOUT_SECONDS, SILENCE_SECONDS)
    with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
        refuse_client_error(response)
        response.raise_for_status()
        data = b""
        for line in response.iter_lines(READ_BYTES):
            if line.startswith(b"data: "):
                data = line.removeprefix(b"data: ")
            elif not line and data:  # only the blank line after an event shows that it is complete
                yield json.loads(data)
                data = b""


def refuse_client_error(response: requests.Response) -> None:
    """Ends the program with the server's reason for a 4xx, which a retry would not change."""
    if 400 <= response.status_code < 500:
        sys.exit(f"{response.request.method} {response.url} answered {response.status_code}: {response.text.strip()}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Post a run and print its text as it comes.")
    parser.add_argument("--url", default="http://127.0.0.1:5050", help="the server (default: %(default)s)")
    parser.add_argument("--token", help="bearer token, when the server asks for one")
    parser.add_argument("prompt", nargs="?", default="What can you do?")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
