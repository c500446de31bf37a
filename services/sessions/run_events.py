"""Reads back the events of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from runtime.protocol.cursors import BEGINNING
from runtime.protocol.events import EventType
from runtime.runs import Runs

PAGE_ENTRIES = 500


@dataclass(slots=True)
class RunEvents:
    """The agent events of a run, and its end."""

    agent_events: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)
    """The data of the terminal event; empty when there is none."""
    has_begun: bool = False


def read_events(runs: Runs, run_id: str) -> RunEvents:
    """Returns all events of a run, as far as they still exist. Raises StorageUnavailable."""
    found = RunEvents()
    for kind, data in _pages(runs, run_id):
        if kind == EventType.PYDANTIC_AI_EVENT:
            found.agent_events.append(data)
        elif kind == EventType.RUN_STARTED:
            found.has_begun = True
        else:
            found.end = data
    return found


def _pages(runs: Runs, run_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    after, has_ended = BEGINNING, False
    while not has_ended and (page := runs.page(run_id, after=after, limit=PAGE_ENTRIES)):
        for entry in page:
            yield entry.event_type, json.loads(entry.payload)["data"]
        after, has_ended = page[-1].cursor, page[-1].is_terminal
