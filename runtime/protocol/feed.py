"""What the dashboard's feed says and is told: the messages of ``GET /events/ws``.

A client sends one of the commands. It gets the events of the runs it subscribes to just as they are stored, and beside
them the messages made here, whose types are no event's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from runtime.protocol.cursors import BEGINNING, parse_cursor
from runtime.protocol.records import RunRecord, RunStatus
from runtime.protocol.requests import WireModel

MAX_RUN_ID_LENGTH = 100
"""Longer than any id; what is refused is repeated to the client."""


class Unsubscribed(StrEnum):
    """Why a subscription has ended."""

    REQUESTED = "requested"
    RUN_ENDED = "run_ended"
    RUN_GONE = "run_gone"


def _parse_after(value: object) -> object:
    """An empty cursor counts as none, as it does in a query."""
    return parse_cursor(value) if isinstance(value, str) and value else value or None


After = Annotated[str | None, BeforeValidator(_parse_after)]
RunId = Annotated[str, Field(max_length=MAX_RUN_ID_LENGTH)]


class Subscribe(WireModel):
    """Follow a run, from behind the cursor ``after`` or from its beginning."""

    type: Literal["subscribe"]
    run_id: RunId
    after: After = None

    @property
    def cursor(self) -> str:
        return self.after or BEGINNING


class Unsubscribe(WireModel):
    """Follow a run no longer."""

    type: Literal["unsubscribe"]
    run_id: RunId


class SubscribeRuns(WireModel):
    """Follow the list of runs, from behind the cursor ``after`` or from what runs now."""

    type: Literal["subscribe_runs"]
    after: After = None


class UnsubscribeRuns(WireModel):
    """Follow the list of runs no longer."""

    type: Literal["unsubscribe_runs"]


class PingCommand(WireModel):
    """Ask for a sign of life: the WebSocket of a browser cannot send pings."""

    type: Literal["ping"]


Command = Subscribe | Unsubscribe | SubscribeRuns | UnsubscribeRuns | PingCommand

_COMMANDS: Mapping[str, type[Command]] = {
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "subscribe_runs": SubscribeRuns,
    "unsubscribe_runs": UnsubscribeRuns,
    "ping": PingCommand,
}
COMMAND_TYPES = ", ".join(_COMMANDS)


def parse_command(fields: Mapping[str, Any]) -> Command | None:
    """The command in a client's message; None when its type is unknown. Raises pydantic's ValidationError."""
    kind = fields.get("type")
    model = _COMMANDS.get(kind) if isinstance(kind, str) else None
    return model.model_validate(fields) if model is not None else None


def subscribed(run_id: str, status: RunStatus) -> dict[str, Any]:
    """The events of a run will come; ``status`` is what it was when this was said."""
    return {"type": "subscribed", "run_id": run_id, "status": status}


def unsubscribed(run_id: str, reason: Unsubscribed) -> dict[str, Any]:
    """No more events of a run will come."""
    return {"type": "unsubscribed", "run_id": run_id, "reason": reason}


def subscribed_runs(*, is_resumed: bool) -> dict[str, Any]:
    """The list will come: what is behind the cursor when it is resumed, and otherwise what runs now."""
    return {"type": "subscribed_runs", "resumed": is_resumed}


def runs_page(records: Sequence[RunRecord], *, cursor: str | None) -> bytes:
    """Some of the runs that were running at ``cursor``, as JSON; the cursor is None in all pages but the last.

    A run that has ended since is told as it was then: its end is behind the cursor.
    """
    runs = [_as_it_began(record) for record in records]
    return json.dumps({"type": "runs", "runs": runs, "more": cursor is None, "id": cursor}).encode()


def run_message(cursor: bytes, payload: bytes) -> bytes:
    """A run that has started or ended, from its entry in the feed, as JSON."""
    return b'{"type":"run","id":"%b","run":%b}' % (cursor, payload)


def _as_it_began(record: RunRecord) -> dict[str, Any]:
    tenant = {} if record.tenant_id is None else {"tenant_id": record.tenant_id}
    return {
        **tenant,
        "run_id": record.run_id,
        "status": RunStatus.RUNNING,
        "created_at": record.created_at,
        "updated_at": record.created_at,
    }
