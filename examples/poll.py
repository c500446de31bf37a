"""Posts a run, waits for its end and prints its output: python examples/poll.py "What can you do?"."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import requests

POLL_SECONDS = 0.3
TIMEOUT_SECONDS = 30


def main() -> int:
    options = parse_options()
    session = requests.Session()
    if options.token:
        session.headers["Authorization"] = f"Bearer {options.token}"
    runs = f"{options.url.rstrip('/')}/runs"

    composition = {"layers": [{"name": "prompt", "type": "plain.prompt", "config": {"user": options.prompt}}]}
    run_id = answer_of(session.post(runs, json={"composition": composition}, timeout=TIMEOUT_SECONDS))["run_id"]
    while (run := answer_of(session.get(f"{runs}/{run_id}", timeout=TIMEOUT_SECONDS)))["status"] == "running":
        time.sleep(POLL_SECONDS)

    if run["status"] != "succeeded":
        print(f"the run {run['status']}: {run['error'] or 'no reason given'}", file=sys.stderr)
        return 1
    print(last_event(session, f"{runs}/{run_id}/events")["data"]["output"])
    return 0


def last_event(session: requests.Session, url: str) -> dict[str, Any]:
    """Returns the terminal event of a run that has ended: the last one of its last page."""
    last: dict[str, Any] = {}
    cursor = "0-0"
    while True:
        page = answer_of(session.get(url, params={"after": cursor, "limit": "500"}, timeout=TIMEOUT_SECONDS))
        if not page["events"]:
            return last
        last, cursor = page["events"][-1], page["next_cursor"]


def answer_of(response: requests.Response) -> dict[str, Any]:
    """Returns the JSON of an answer. If the server refuses the request, ends the program with its reason."""
    if not response.ok:
        sys.exit(f"{response.request.method} {response.url} answered {response.status_code}: {response.text.strip()}")
    answer: dict[str, Any] = response.json()
    return answer


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Post a run, wait for its end, print its output.")
    parser.add_argument("--url", default="http://127.0.0.1:5050", help="the server (default: %(default)s)")
    parser.add_argument("--token", help="bearer token, when the server asks for one")
    parser.add_argument("prompt", nargs="?", default="What can you do?")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
