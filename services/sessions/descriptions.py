"""Describes sessions and their turns for callers."""

from __future__ import annotations

from typing import Any

from models import AgentSession, SessionTurn
from runtime.protocol.clock import wire_time


def describe_session(row: AgentSession) -> dict[str, Any]:
    """Returns a session without what it remembers."""
    return {
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


def describe_turn(row: SessionTurn) -> dict[str, Any]:
    """Returns a turn with its outcome."""
    return {
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
