"""The two ways in which a reader can follow a run."""

from __future__ import annotations

from enum import StrEnum


class Transport(StrEnum):
    SSE = "sse"
    WS = "ws"

    def path(self, run_id: str) -> str:
        """Where a run's events are read in this way."""
        return f"/runs/{run_id}/events/{self.value}"
