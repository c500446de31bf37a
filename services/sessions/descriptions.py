"""Sessions and their turns as callers see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from models import AgentSession, SessionTurn
from runtime.protocol.clock import wire_time
from services.pages import CursorPage


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A session without what it remembers."""

    body: dict[str, Any]

    @classmethod
    def of(cls, row: AgentSession) -> Self:
        return cls(
            {
                "id": row.id,
                "status": row.state,
                "agent_id": row.agent_id,
                "version_id": row.version_id,
                "name": row.name,
                "metadata": row.details,
                "multitask_strategy": row.multitask_strategy,
                "turns": row.turns,
                "last_run_id": row.last_run_id,
                "created_at": wire_time(row.created_at),
                "updated_at": wire_time(row.updated_at),
            }
        )


@dataclass(frozen=True, slots=True)
class TurnDescription:
    """A turn with what came of it."""

    body: dict[str, Any]

    @classmethod
    def of(cls, row: SessionTurn) -> Self:
        return cls(
            {
                "id": row.id,
                "session_id": row.session_id,
                "turn": row.position,
                "run_id": row.run_id,
                "version_id": row.version_id,
                "status": row.status,
                "query": row.query,
                "inputs": row.inputs,
                "answer": row.answer,
                "agent_thoughts": row.thoughts,
                "usage": row.usage,
                "error": row.error,
                "reason": row.error_reason,
                "metadata": row.details,
                "created_at": wire_time(row.created_at),
                "updated_at": wire_time(row.updated_at),
            }
        )


SessionPage = CursorPage[SessionDescription]
TurnPage = CursorPage[TurnDescription]
