"""The items that a worker's event log writes: events, ends, and renewals of lifetimes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gevent.event import AsyncResult

from runtime.events.connections import Command
from runtime.events.store import EndOutcome
from runtime.protocol.announcements import AnnouncedEnd
from runtime.protocol.events import Event

if TYPE_CHECKING:
    from runtime.events.run_log import RunLog


@dataclass(slots=True)
class Append:
    """One event to be appended to its stream."""

    run_log: RunLog
    command: Command
    weight: int
    entry_id: str
    event: Event
    repeated: bool = False


@dataclass(slots=True)
class End:
    """The end script of a run, after its last event."""

    run_log: RunLog
    command: Command
    event: Event
    announced: AnnouncedEnd | None = None
    done: AsyncResult[EndOutcome | None] = field(default_factory=AsyncResult)
    repeated: bool = False


@dataclass(slots=True)
class Touch:
    """The renewal of one key's lifetime."""

    run_log: RunLog
    command: Command
    repeated: bool = False


LogItem = Append | End | Touch
"""``repeated`` is true if the item may have been written already although its answer was lost."""
