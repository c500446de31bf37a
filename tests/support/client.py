"""A client of the run API, as strict as Dify's own: it accepts only what the wire format allows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests

TERMINAL_TYPES = {"run_succeeded", "run_failed", "run_cancelled"}
DEADLINE_SECONDS = 30.0


@dataclass(frozen=True)
class Frame:
    """One server-sent event as it was received."""

    id: str
    event: str
    data: dict[str, Any]


class RunClient:
    """A client of one server."""

    def __init__(self, url: str, *, token: str | None = None) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        if token is not None:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def post(self, body: object) -> requests.Response:
        return self.session.post(f"{self.url}/runs", json=body, timeout=DEADLINE_SECONDS)

    def create(self, *layers: dict[str, Any], **rest: Any) -> str:
        """Posts a run that must be accepted, and returns its id."""
        response = self.post({"composition": {"layers": list(layers)}, **rest})
        assert response.status_code == 202, response.text
        assert response.json()["status"] == "running"
        run_id = response.json()["run_id"]
        assert isinstance(run_id, str)
        return run_id

    def status(self, run_id: str) -> dict[str, Any]:
        response = self.session.get(f"{self.url}/runs/{run_id}", timeout=DEADLINE_SECONDS)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def cancel(self, run_id: str, body: object = None) -> requests.Response:
        return self.session.post(f"{self.url}/runs/{run_id}/cancel", json=body, timeout=DEADLINE_SECONDS)

    def page(self, run_id: str, **query: Any) -> dict[str, Any]:
        response = self.session.get(f"{self.url}/runs/{run_id}/events", params=query, timeout=DEADLINE_SECONDS)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def stream(
        self,
        run_id: str,
        *,
        after: str | None = None,
        last_event_id: str | None = None,
        timeout: float = DEADLINE_SECONDS,
    ) -> Iterator[Frame]:
        """Yields the run's events until the server ends the stream. Each read may take up to ``timeout`` seconds."""
        headers = {"Last-Event-ID": last_event_id} if last_event_id is not None else {}
        params = {"after": after} if after is not None else {}
        url = f"{self.url}/runs/{run_id}/events/sse"
        with requests.Session() as session:
            session.trust_env = False
            session.headers.update(self.session.headers)
            with session.get(url, params=params, headers=headers, stream=True, timeout=timeout) as response:
                assert response.status_code == 200, response.text
                yield from parse_frames(response.iter_content(None))

    def follow(self, run_id: str, **cursor: str) -> list[Frame]:
        """Returns all events of a run, once it has ended."""
        return list(self.stream(run_id, **cursor))  # type: ignore[arg-type]

    def finish(self, run_id: str) -> dict[str, Any]:
        """Waits for a run's end and returns its terminal event."""
        last = self.follow(run_id)[-1]
        assert last.event in TERMINAL_TYPES
        return last.data

    def wait_for_status(self, run_id: str, status: str) -> dict[str, Any]:
        wait_until(lambda: self.status(run_id)["status"] == status)
        return self.status(run_id)


def parse_frames(chunks: Iterator[bytes]) -> Iterator[Frame]:
    """Parses an event stream. Comments are skipped; anything else that is not a whole frame is an error."""
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        while b"\n\n" in buffer:
            raw, buffer = buffer.split(b"\n\n", 1)
            lines = raw.decode().split("\n")
            if all(line.startswith((":", "retry:")) for line in lines):
                continue
            fields = dict(line.split(": ", 1) for line in lines)
            assert list(fields) == ["id", "event", "data"], raw
            yield Frame(fields["id"], fields["event"], json.loads(fields["data"]))
    assert buffer == b"", f"the stream ended inside a frame: {buffer!r}"


def wait_until(condition: Any, *, timeout: float = DEADLINE_SECONDS) -> None:
    """Waits for a condition that must come true."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def prompt(user: str = "Summarize the current state.", **config: Any) -> dict[str, Any]:
    """A prompt layer, as JSON."""
    return {"name": "prompt", "type": "plain.prompt", "config": {"user": user, **config}}


def demo_llm(**config: Any) -> dict[str, Any]:
    """A layer with the demo model, as JSON."""
    return {"name": "llm", "type": "greenrun.demo_llm", "config": config}


def plugin_layers(model: str, *, tenant_id: str = "tenant-1", **config: Any) -> list[dict[str, Any]]:
    """A model of the plugin daemon; a request with these layers gets the current dialect."""
    context = {"tenant_id": tenant_id, "user_id": "user-1", "invoke_from": "service-api"}
    llm = {
        "plugin_id": "langgenius/openai",
        "model_provider": "openai",
        "model": model,
        "credentials": {"api_key": "sk-canary-credential"},
        **config,
    }
    return [
        {"name": "execution_context", "type": "dify.execution_context", "config": context},
        {
            "name": "llm",
            "type": "dify.plugin.llm",
            "deps": {"execution_context": "execution_context"},
            "config": llm,
        },
    ]
