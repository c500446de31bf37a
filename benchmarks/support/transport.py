"""The two ways in which a reader can follow a run."""

from __future__ import annotations

from enum import StrEnum


class Transport(StrEnum):
    SSE = "sse"
    WS = "ws"

    def path(self, run_id: str) -> str:
        """Returns the path of a run's events for this transport."""
        return f"/runs/{run_id}/events/{self.value}"
