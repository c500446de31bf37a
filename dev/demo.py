"""The run that `dev/start --demo` shows, made and followed over HTTP as any client would."""

import json
import time
from collections.abc import Iterator
from typing import Any

import requests

from dev.errors import LaunchError
from dev.terminal import LiveText, say

# The whole run; the demo model needs a few seconds.
RUN_SECONDS = 60.0
# The server sends a comment at least every 15 s.
SILENCE_SECONDS = 25.0

PROMPT = "Show me that you are streaming."
RUN = {
    "composition": {
        "schema_version": 1,
        "layers": [{"name": "prompt", "type": "plain.prompt", "config": {"user": PROMPT}}],
    }
}
TERMINAL_EVENTS = {"run_succeeded", "run_failed", "run_cancelled"}


def show_run(url: str, token: str) -> None:
    """Post a run, show its text streaming, and make sure that it succeeded.

    Raises:
        LaunchError: anything was not as promised.
    """
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands between us
        session.headers["Authorization"] = f"Bearer {token}"
        try:
            run_id = _post_run(session, url)
            end = _follow(session, url, run_id)
            status = _checked(session.get(f"{url}/runs/{run_id}", timeout=10), 200)["status"]
        except requests.RequestException as error:
            raise LaunchError(f"the demo lost its connection: {error}") from error
    if end["type"] != "run_succeeded":
        raise LaunchError(f"the demo's run ended with {end['type']}: {end['data'].get('error') or end['data']}")
    if status != "succeeded":
        raise LaunchError(f"the demo's run succeeded, but its record says {status!r}")


def _post_run(session: requests.Session, url: str) -> str:
    say(f'POST {url}/runs  one plain.prompt layer: "{PROMPT}"')
    answer = _checked(session.post(f"{url}/runs", json=RUN, timeout=10), 202)
    say(f"202 {json.dumps(answer)}")
    return str(answer["run_id"])


def _follow(session: requests.Session, url: str, run_id: str) -> dict[str, Any]:
    """Show the run's events and return the terminal one."""
    say(f"GET {url}/runs/{run_id}/events/sse\n")
    began = time.monotonic()
    live = LiveText()
    events = characters = 0

    def progress() -> str:
        return f"{events} events, {characters} characters, {time.monotonic() - began:.1f} s"

    with session.get(f"{url}/runs/{run_id}/events/sse", stream=True, timeout=(10, SILENCE_SECONDS)) as response:
        if response.status_code != 200:
            _checked(response, 200)
        for event in _events(response, deadline=began + RUN_SECONDS):
            text = event.get("agent_message_delta") or ""
            events += 1
            characters += len(text)
            live.add(text, progress())
            if event["type"] in TERMINAL_EVENTS:
                live.finish(f"{event['type']}: {progress()}")
                return event
    raise LaunchError(f"the stream of run {run_id} ended before the run did")


def _events(response: requests.Response, deadline: float) -> Iterator[dict[str, Any]]:
    """Yield the events of an SSE response; each is one line of `data`."""
    for line in response.iter_lines(chunk_size=None):
        if time.monotonic() > deadline:
            raise LaunchError(f"the demo's run took longer than {RUN_SECONDS:.0f} s")
        if line.startswith(b"data:"):
            yield json.loads(line.removeprefix(b"data:"))


def _checked(response: requests.Response, status: int) -> dict[str, Any]:
    if response.status_code != status:
        asked = f"{response.request.method} {response.request.path_url}"
        raise LaunchError(f"{asked} answered {response.status_code}: {response.text[:500]}")
    answer: dict[str, Any] = response.json()
    return answer
