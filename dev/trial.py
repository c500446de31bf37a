"""A trial of one model, for dev/try-provider: runs on our own server, which calls the model as in any run."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dev.run_client import RunClient, RunTimeout

Layer = dict[str, Any]


class NotHeld(Exception):
    """Raised when a request did not show what it should; the text is for the person at the terminal."""


class NoModel(NotHeld):
    """Raised when the server or its model cannot be used at all, so that no further request would help."""


NO_MODEL = {"base_url_not_allowed", "model_credentials_refused", "model_not_found", "model_unreachable"}
"""Reasons of a failed run that any further run would have as well."""


@dataclass
class Seen:
    """The events of one run, in the order in which they came."""

    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def end(self) -> dict[str, Any]:
        """The data of the terminal event."""
        data: dict[str, Any] = self.events[-1]["data"]
        return data

    @property
    def end_type(self) -> str:
        return str(self.events[-1]["type"])

    @property
    def output(self) -> str:
        return str(self.end.get("output"))

    @property
    def pieces(self) -> list[str]:
        """The pieces of the text, as they came."""
        return [text for event in self.events if (text := event.get("agent_message_delta"))]

    @property
    def thinking(self) -> str:
        texts: list[str] = []
        for event in self.events:
            data = event["data"]
            part, delta = data.get("part") or {}, data.get("delta") or {}
            if data.get("event_kind") == "part_start" and part.get("part_kind") == "thinking":
                texts.append(part.get("content") or "")
            elif delta.get("part_delta_kind") == "thinking":
                texts.append(delta.get("content_delta") or "")
        return "".join(texts)

    @property
    def tokens(self) -> tuple[int, int]:
        """The tokens that were sent and answered, as the model's server counted them."""
        usage = self.end.get("usage") or {}
        return int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)

    def places_of(self, event_kind: str) -> list[int]:
        """Returns the positions of the events of one kind among all events."""
        return [number for number, event in enumerate(self.events) if event["data"].get("event_kind") == event_kind]


class Trial:
    """Makes the runs of a trial.

    ``config`` is that of the model's layer. ``thinking`` is added to the body of requests that are to make the model
    think. ``seconds`` is how long one run may take.
    """

    def __init__(self, client: RunClient, config: dict[str, Any], *, thinking: dict[str, Any], seconds: float) -> None:
        self.client = client
        self.thinking = thinking
        self._config = config
        self._seconds = seconds

    def run(self, *layers: Layer, snapshot: object = None, **model_settings: Any) -> Seen:
        """Makes a run that must succeed. Raises NotHeld when it does not, and NoModel."""
        seen = self._follow(self.begin(*layers, snapshot=snapshot, **model_settings))
        if seen.end_type != "run_succeeded":
            reason, error = seen.end.get("reason"), str(seen.end.get("error") or seen.end)
            raise (NoModel if reason in NO_MODEL else NotHeld)(error)
        return seen

    def run_and_cancel(self, *layers: Layer) -> tuple[Seen, float]:
        """Makes a run and cancels it once some of its answer has come. Also returns the seconds until its end."""
        run_id = self.begin(*layers)
        cancelled_at: list[float] = []

        def cancel(event: dict[str, Any]) -> None:
            if event.get("agent_message_delta") and not cancelled_at:
                cancelled_at.append(time.monotonic())
                self.client.cancel(run_id)

        seen = self._follow(run_id, cancel)
        return seen, time.monotonic() - cancelled_at[0] if cancelled_at else 0.0

    def begin(self, *layers: Layer, snapshot: object = None, **model_settings: Any) -> str:
        settings = {**(self._config.get("model_settings") or {}), **model_settings}
        config = {**self._config, **({"model_settings": settings} if settings else {})}
        model = {"name": "llm", "type": "greenrun.llm", "config": config}
        body = {"composition": {"layers": [*layers, model]}, "session_snapshot": snapshot}
        return str(self.client.create(body)["run_id"])

    def _follow(self, run_id: str, told: Callable[[dict[str, Any]], None] | None = None) -> Seen:
        seen = Seen()
        try:
            for event in self.client.events(run_id, self._seconds):
                seen.events.append(event)
                if told is not None:
                    told(event)
        except RunTimeout:
            self.client.cancel(run_id)
            raise NotHeld(f"it took longer than {self._seconds:g} seconds") from None
        return seen


def prompt(user: str, **config: Any) -> Layer:
    return {"name": "prompt", "type": "plain.prompt", "config": {"user": user, **config}}
