"""Run events in the form that is stored: one line of JSON, without the ``id``, which is that of the stream entry."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai.messages import AgentStreamEvent, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_core import to_json

from runtime.protocol.client_models import Clients, clients_with, snapshot_for
from runtime.protocol.clock import utc_now
from runtime.protocol.dialects import RULES, Dialect
from runtime.protocol.records import RunRecord, RunStatus


class EventType(StrEnum):
    """The types of a run's events."""

    RUN_STARTED = "run_started"
    PYDANTIC_AI_EVENT = "pydantic_ai_event"
    RUN_SUCCEEDED = "run_succeeded"
    RUN_FAILED = "run_failed"
    RUN_CANCELLED = "run_cancelled"


TERMINAL_TYPES = frozenset({EventType.RUN_SUCCEEDED, EventType.RUN_FAILED, EventType.RUN_CANCELLED})

_LINE_BREAKS = (("\u0085".encode(), b"\\u0085"), ("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"))
"""Characters that some clients split lines on. They occur only inside JSON strings, where an escape means the same."""

CANCELLED_REASON = "cancelled"
"""The ``reason`` of a cancelled run in a dialect without a cancelled event."""

AGENT_EVENT: TypeAdapter[AgentStreamEvent] = TypeAdapter(AgentStreamEvent)
"""Reads and writes Pydantic AI's own events. It is shared because it takes a tenth of a second to build."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event ready to be stored."""

    type: EventType
    payload: bytes


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended, before its dialect is applied.

    ``reason`` says in one word why it failed or was cancelled; ``error`` is text for people.
    """

    status: RunStatus
    data: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    error_type: str | None = None
    reason: str | None = None
    output_validation: dict[str, Any] | None = None
    """The report on a checked output: its source, repairs and errors."""

    @classmethod
    def succeeded(cls, *, output: Any, snapshot: dict[str, Any], usage: dict[str, Any] | None) -> RunEnd:
        data = {"output": output, "session_snapshot": snapshot, "usage": usage}
        return cls(RunStatus.SUCCEEDED, data=data)

    @classmethod
    def deferred(cls, *, call: dict[str, Any], snapshot: dict[str, Any], usage: dict[str, Any] | None) -> RunEnd:
        """Returns a success with a deferred tool call, whose result the caller must bring, instead of an output."""
        data = {"deferred_tool_call": call, "session_snapshot": snapshot, "usage": usage}
        return cls(RunStatus.SUCCEEDED, data=data)

    @classmethod
    def failed(cls, error: str, *, reason: str | None = None, error_type: str | None = None) -> RunEnd:
        return cls(RunStatus.FAILED, error=error, error_type=error_type, reason=reason)

    @classmethod
    def cancelled(cls, *, reason: str | None = None, message: str | None = None) -> RunEnd:
        return cls(RunStatus.CANCELLED, data={"reason": reason, "message": message}, error=message, reason=reason)


class EventEncoder:
    """Writes the events of one run in its dialect."""

    def __init__(self, run_id: str, dialect: Dialect) -> None:
        self._rules = RULES[dialect]
        self._clients = clients_with(self._rules.clients) if self._rules.clients else None
        self._run_id = json.dumps(run_id).encode()

    def started(self) -> Event:
        return self._event(EventType.RUN_STARTED, b"{}")

    def agent_event(self, event: AgentStreamEvent) -> Event | None:
        """Returns the event with what the dialect's clients know of it; None when they do not know its kind."""
        kinds = self._rules.event_kinds
        if kinds is not None and event.event_kind not in kinds:
            return None
        data = AGENT_EVENT.dump_json(event) if self._clients is None else _known(event, self._clients)
        if data is None:
            return None
        extra = b""
        if self._rules.message_delta:
            extra = b',"agent_message_delta":' + json.dumps(_message_delta(event), ensure_ascii=False).encode()
        return self._event(EventType.PYDANTIC_AI_EVENT, data, extra)

    def ended(self, end: RunEnd) -> Event:
        """Returns the terminal event."""
        if end.status is RunStatus.SUCCEEDED:
            data = {key: value for key, value in end.data.items() if key != "usage"}
            data = {**data, **self._usage(end), **self._validation(end)}
            if self._clients is not None:
                data["session_snapshot"] = snapshot_for(self._clients, data["session_snapshot"])
            return self._event(EventType.RUN_SUCCEEDED, _dump(data))
        if end.status is RunStatus.CANCELLED and self._rules.cancelled_event:
            return self._event(EventType.RUN_CANCELLED, _dump(_without_nulls(end.data)))
        if end.status is RunStatus.CANCELLED:
            return self._event(EventType.RUN_FAILED, _dump({"error": _error_text(end), "reason": CANCELLED_REASON}))
        data = {"error": _error_text(end)}
        if self._rules.error_type and end.error_type is not None:
            data["error_type"] = end.error_type
        if end.reason is not None:
            data["reason"] = end.reason
        return self._event(EventType.RUN_FAILED, _dump({**data, **self._validation(end)}))

    def _usage(self, end: RunEnd) -> dict[str, Any]:
        usage, known = end.data["usage"], self._rules.usage_keys
        if usage is None or known == frozenset():
            return {}
        return {"usage": {key: value for key, value in usage.items() if known is None or key in known}}

    def _validation(self, end: RunEnd) -> dict[str, Any]:
        if not self._rules.output_validation or end.output_validation is None:
            return {}
        return {"output_validation": end.output_validation}

    def _event(self, event_type: EventType, data: bytes, extra: bytes = b"") -> Event:
        payload = b'{"run_id":%b,"type":"%b","data":%b,"created_at":"%b"%b}' % (
            self._run_id,
            event_type.encode(),
            data,
            utc_now().encode(),
            extra,
        )
        for character, escape in _LINE_BREAKS:
            if character in payload:
                payload = payload.replace(character, escape)
        return Event(event_type, payload)


def _known(event: AgentStreamEvent, clients: Clients) -> bytes | None:
    """Returns the event with what the clients know of it; None when one of them cannot read it."""
    if isinstance(event, PartDeltaEvent):  # nearly all events are: they must be as fast as without an allow-list
        keys = clients.known_of_delta.get(event.delta.part_delta_kind)
        return AGENT_EVENT.dump_json(event, include=keys) if keys is not None else None
    known = clients.event(AGENT_EVENT.dump_python(event, mode="json"))
    return _dump(known) if known is not None else None


def ended_record(record: RunRecord, end: RunEnd, end_token: str) -> RunRecord:
    """Returns the record of a run that ended with ``end``, in the run's dialect."""
    cancelled, rules = end.status is RunStatus.CANCELLED, RULES[record.dialect]
    status, error = end.status, None
    if cancelled and not rules.cancelled_event:
        status = RunStatus.FAILED
    if status is RunStatus.FAILED:
        error = _error_text(end)
    elif cancelled and rules.cancelled_error:
        error = end.error or end.reason
    return record.model_copy(
        update={
            "status": status,
            "updated_at": utc_now(),
            "error": error,
            "error_type": end.error_type,
            "cancelled": cancelled,
            "end_token": end_token,
        }
    )


def _error_text(end: RunEnd) -> str:
    return end.error or ("run cancelled" if end.status is RunStatus.CANCELLED else "run failed")


def _message_delta(event: AgentStreamEvent) -> str | None:
    if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
        return event.delta.content_delta
    if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
        return event.part.content
    return None


def _without_nulls(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


def _dump(value: Any) -> bytes:
    return to_json(value, inf_nan_mode="null")
