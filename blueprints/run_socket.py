"""A run's events over a WebSocket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from wsproto.frame_protocol import CloseReason

from blueprints.conversation import NO_PONG, WORKER_STOPS, Conversation, Ending, MessageRefused, refuse_fields
from runtime.protocol.requests import CancelRunRequest
from runtime.runs import Follower
from services.open_streams import OpenStream

NOTHING_MORE = "ended"

Cancel = Callable[[CancelRunRequest], object]


class RunConversation(Conversation):
    """One client: events of one run to it, cancels from it. Without ``cancel`` it may only read."""

    def __init__(self, follower: Follower, *, cancel: Cancel | None, stream: OpenStream | None) -> None:
        super().__init__(stream)
        self._follower = follower
        self._cancel = cancel

    @property
    def _is_cut(self) -> bool:
        return self._follower.is_cut

    def _converse(self) -> Ending:
        reason = NOTHING_MORE
        for entries in self._follower:
            if entries:
                self._socket.send_entries(entries)
                if entries[-1].is_terminal:
                    reason = entries[-1].event_type
            elif not self._socket.ping():
                return CloseReason.POLICY_VIOLATION, NO_PONG
        if self._follower.is_cut:
            return CloseReason.SERVICE_RESTART, WORKER_STOPS
        return CloseReason.NORMAL_CLOSURE, reason

    def _stop(self) -> None:
        self._follower.stop()

    def _obey(self, fields: dict[str, Any]) -> None:
        if fields.pop("type", None) != "cancel":
            raise MessageRefused("unknown_type", "the type of a message must be cancel")
        if self._cancel is None:
            raise MessageRefused("read_only", "a stream token may read, and nothing else")
        try:
            wanted = CancelRunRequest.model_validate(fields)
        except ValidationError as error:
            raise refuse_fields(error) from None
        self._cancel(wanted)
