"""The run that ``dev/start --demo`` shows, posted and followed over HTTP as by any client."""

import json
import time
from typing import Any

from dev.errors import LaunchError
from dev.run_client import TERMINAL_EVENTS, RunClient, RunTimeout
from dev.terminal import LiveText, say

# For the whole run; the demo model needs a few seconds.
RUN_SECONDS = 60.0

PROMPT = "Show me that you are streaming."
RUN = {
    "composition": {
        "schema_version": 1,
        "layers": [{"name": "prompt", "type": "plain.prompt", "config": {"user": PROMPT}}],
    }
}


def show_run(url: str, token: str) -> None:
    """Posts a run, shows its text streaming, and checks that it succeeded.

    Raises LaunchError when anything is not as promised.
    """
    with RunClient(url, token) as client:
        say(f'POST {url}/runs  one plain.prompt layer: "{PROMPT}"')
        answer = client.create(RUN)
        say(f"202 {json.dumps(answer)}")
        run_id = str(answer["run_id"])
        end = _follow(client, run_id)
        status = client.status(run_id)["status"]
    if end["type"] != "run_succeeded":
        raise LaunchError(f"the demo's run ended with {end['type']}: {end['data'].get('error') or end['data']}")
    if status != "succeeded":
        raise LaunchError(f"the demo's run succeeded, but its record says {status!r}")


def _follow(client: RunClient, run_id: str) -> dict[str, Any]:
    """Shows the run's events and returns the terminal one."""
    say(f"GET {client.url}/runs/{run_id}/events/sse\n")
    began = time.monotonic()
    live = LiveText()
    events = characters = 0

    def progress() -> str:
        return f"{events} events, {characters} characters, {time.monotonic() - began:.1f} s"

    event: dict[str, Any] = {}
    try:
        for event in client.events(run_id, RUN_SECONDS):
            text = event.get("agent_message_delta") or ""
            events += 1
            characters += len(text)
            live.add(text, progress())
            if event["type"] in TERMINAL_EVENTS:
                live.finish(f"{event['type']}: {progress()}")
    except RunTimeout:
        raise LaunchError(f"the demo's run took longer than {RUN_SECONDS:.0f} s") from None
    return event
