"""Replays a finalized turn to a chat client from the turn's row alone, when the events of its run are gone."""

from __future__ import annotations

from models import SessionTurn
from models.enums import TurnStatus
from runtime.llm.usage import ModelUsage
from services.chat import frames
from services.chat.failures import ChatFailure, chat_failure
from services.chat.frames import ChatTurn, FormTicket
from services.sessions.thoughts import Thought


def stored_frames(turn: ChatTurn, row: SessionTurn, form: FormTicket | None) -> bytes:
    """Returns all frames: what the turn did on its way, its answer as one piece, and its end."""
    rows = [frames.agent_thought(turn, Thought(**thought)) for thought in row.thoughts]
    answer = [frames.message(turn, row.answer)] if row.answer else []
    return b"".join([*rows, *answer, _end(turn, row, form)])


def stored_failure(row: SessionTurn) -> ChatFailure:
    """Returns why a turn failed, in the words that its stream used."""
    return chat_failure({"error": row.error or "", "reason": row.error_reason}, row.run_id)


def _end(turn: ChatTurn, row: SessionTurn, form: FormTicket | None) -> bytes:
    if row.status is TurnStatus.FAILED:
        return frames.error(turn, stored_failure(row))
    return frames.message_end(turn, ModelUsage.model_validate(row.usage or {}), form)
