"""Every Redis key this service uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one prefix, laid out as Dify's run server has them."""

    prefix: str

    def record(self, run_id: str) -> str:
        """The run record, a JSON string."""
        return f"{self.prefix}:runs:{run_id}:record"

    def events(self, run_id: str) -> str:
        """The run's events, a stream with the fields ``type`` and ``payload``."""
        return f"{self.prefix}:runs:{run_id}:events"

    def control(self, worker: str) -> str:
        """Messages to one worker process, a short-lived stream."""
        return f"{self.prefix}:workers:{worker}:control"
