"""The messages of the dashboard's feed, ``GET /events/ws``, in both directions.

A client sends commands. It receives the events of the runs it subscribes to exactly as they are stored, and the
messages built here, whose types differ from those of events.
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
"""Longer than any id. The bound is needed because a refused id is repeated to the client."""


class Unsubscribed(StrEnum):
    """Why a subscription has ended."""

    REQUESTED = "requested"
    RUN_ENDED = "run_ended"
    RUN_GONE = "run_gone"


def _parse_after(value: object) -> object:
    """Parses a cursor. An empty cursor counts as none, as it does in a query."""
    return parse_cursor(value) if isinstance(value, str) and value else value or None


After = Annotated[str | None, BeforeValidator(_parse_after)]
RunId = Annotated[str, Field(max_length=MAX_RUN_ID_LENGTH)]


class Subscribe(WireModel):
    """Follows a run from the cursor ``after``, or from its beginning."""

    type: Literal["subscribe"]
    run_id: RunId
    after: After = None

    @property
    def cursor(self) -> str:
        return self.after or BEGINNING


class Unsubscribe(WireModel):
    """Stops following a run."""

    type: Literal["unsubscribe"]
    run_id: RunId


class SubscribeRuns(WireModel):
    """Follows the list of runs from the cursor ``after``, or from the runs that are running now."""

    type: Literal["subscribe_runs"]
    after: After = None


class UnsubscribeRuns(WireModel):
    """Stops following the list of runs."""

    type: Literal["unsubscribe_runs"]


class PingCommand(WireModel):
    """Asks for a pong: the WebSocket of a browser cannot send pings."""

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
    """Returns the command in a client's message; None when its type is unknown. Raises pydantic's ValidationError."""
    kind = fields.get("type")
    model = _COMMANDS.get(kind) if isinstance(kind, str) else None
    return model.model_validate(fields) if model is not None else None


def subscribed(run_id: str, status: RunStatus) -> dict[str, Any]:
    """Announces that the events of a run will follow; ``status`` is the run's status at this moment."""
    return {"type": "subscribed", "run_id": run_id, "status": status}


def unsubscribed(run_id: str, reason: Unsubscribed) -> dict[str, Any]:
    """Announces that no more events of a run will follow."""
    return {"type": "unsubscribed", "run_id": run_id, "reason": reason}


def subscribed_runs(*, is_resumed: bool) -> dict[str, Any]:
    """Announces the list of runs: what follows the cursor if it is resumed, and otherwise what is running now."""
    return {"type": "subscribed_runs", "resumed": is_resumed}


def runs_page(records: Sequence[RunRecord], *, cursor: str | None) -> bytes:
    """Returns some of the runs that were running at ``cursor``, as JSON; the cursor is None in all pages but the last.

    A run that has ended since is shown as it was then: its end follows the cursor.
    """
    runs = [_as_it_began(record) for record in records]
    return json.dumps({"type": "runs", "runs": runs, "more": cursor is None, "id": cursor}).encode()


def run_message(cursor: bytes, payload: bytes) -> bytes:
    """Returns a run that has started or ended, from its entry in the feed, as JSON."""
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
