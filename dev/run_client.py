"""A client that creates and follows runs over HTTP, as any client would."""

import json
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import requests

from dev.errors import LaunchError

TERMINAL_EVENTS = {"run_succeeded", "run_failed", "run_cancelled"}
ANSWER_SECONDS = 10.0
# The server sends a comment at least every 15 s.
SILENCE_SECONDS = 25.0


class RunTimeout(Exception):
    """Raised when the run has not ended in time."""


class RunClient:
    """The runs of one server, for the time of the block.

    Raises LaunchError when the server does not answer as promised, or when the connection breaks.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False  # not through a proxy
        self._session.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._session.close()
        if isinstance(error, requests.RequestException):
            raise LaunchError(f"the connection to the server broke: {error}") from error

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Posts a run and returns the answer, such as its ``run_id``."""
        return _checked(self._session.post(f"{self.url}/runs", json=body, timeout=ANSWER_SECONDS), 202)

    def status(self, run_id: str) -> dict[str, Any]:
        return _checked(self._session.get(f"{self.url}/runs/{run_id}", timeout=ANSWER_SECONDS), 200)

    def cancel(self, run_id: str) -> bool:
        """Cancels a run. Returns False when it had ended before."""
        response = self._session.post(f"{self.url}/runs/{run_id}/cancel", timeout=ANSWER_SECONDS)
        return response.status_code != requests.codes.conflict and bool(_checked(response, 200))

    def events(self, run_id: str, seconds: float) -> Iterator[dict[str, Any]]:
        """Yields the run's events to its end, as they come. Raises RunTimeout when that takes more than ``seconds``."""
        deadline = time.monotonic() + seconds
        address = f"{self.url}/runs/{run_id}/events/sse"
        with self._session.get(address, stream=True, timeout=(ANSWER_SECONDS, SILENCE_SECONDS)) as response:
            if response.status_code != requests.codes.ok:
                _checked(response, 200)
            for line in response.iter_lines(chunk_size=None):
                if time.monotonic() > deadline:
                    raise RunTimeout
                if line.startswith(b"data:"):
                    event = json.loads(line.removeprefix(b"data:"))
                    yield event
                    if event["type"] in TERMINAL_EVENTS:
                        return
        raise LaunchError(f"the stream of run {run_id} ended before the run did")


def _checked(response: requests.Response, status: int) -> dict[str, Any]:
    if response.status_code != status:
        asked = f"{response.request.method} {response.request.path_url}"
        raise LaunchError(f"{asked} answered {response.status_code}: {response.text[:500]}")
    answer: dict[str, Any] = response.json()
    return answer
