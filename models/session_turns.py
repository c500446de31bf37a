"""The turns of sessions: what was asked, which run answered, and the outcome."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OUR_ID, Base, Identified, Tenanted, Updated
from models.enums import FeedbackRating, TurnStatus, TurnStop
from models.types import JSON_VALUE, EnumText, is_member


class SessionTurn(Identified, Tenanted, Updated, Base):
    """One turn, which clients of Dify's service API know as a message."""

    __tablename__ = "session_turns"

    session_id: Mapped[str] = mapped_column(OUR_ID)
    position: Mapped[int] = mapped_column(Integer)
    """Counted from 1, in the order of acceptance, which is the order of execution."""
    run_id: Mapped[str] = mapped_column(OUR_ID)
    task_id: Mapped[str] = mapped_column(OUR_ID)
    """The id by which clients of Dify's service API stop it."""
    version_id: Mapped[str | None] = mapped_column(OUR_ID)
    query: Mapped[str] = mapped_column(Text)
    is_answer: Mapped[bool] = mapped_column(Boolean, default=False)
    """Whether it only continues with the answer to a question: its query is that of the turn that asked."""
    inputs: Mapped[dict[str, Any]] = mapped_column(JSON_VALUE, default=dict)
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSON_VALUE, default=dict)
    status: Mapped[TurnStatus] = mapped_column(EnumText(TurnStatus), default=TurnStatus.RUNNING)
    """Final as soon as the turn is finalized: by then the session has taken over its state, or stayed as it was."""
    stop: Mapped[TurnStop | None] = mapped_column(EnumText(TurnStop))
    """What becomes of it when a later turn, or a person, has had it cancelled."""
    prepared_snapshot: Mapped[dict[str, Any] | None] = mapped_column(JSON_VALUE)
    """The session snapshot of a turn that is about to succeed: the session takes it over once the run has succeeded."""
    deferred_call: Mapped[dict[str, Any] | None] = mapped_column(JSON_VALUE)
    """The model's question to a person, when the turn ends with one."""
    answer: Mapped[str] = mapped_column(Text, default="")
    thoughts: Mapped[list[dict[str, Any]]] = mapped_column(JSON_VALUE, default=list)
    usage: Mapped[dict[str, Any] | None] = mapped_column(JSON_VALUE)
    latency: Mapped[float] = mapped_column(Float, default=0.0)
    """Seconds from its acceptance to its end."""
    error: Mapped[str | None] = mapped_column(Text)
    error_reason: Mapped[str | None] = mapped_column(String(64))
    rating: Mapped[FeedbackRating | None] = mapped_column(EnumText(FeedbackRating))
    rating_content: Mapped[str | None] = mapped_column(Text)
    idempotency_digest: Mapped[str | None] = mapped_column(String(64))
    idempotency_fingerprint: Mapped[str | None] = mapped_column(String(64))

    __table_args__ = (
        PrimaryKeyConstraint("id", name="session_turn_pkey"),
        ForeignKeyConstraint(["session_id"], ["sessions.id"], name="session_turn_session_fkey"),
        UniqueConstraint("session_id", "position", name="session_turn_position_unique"),
        UniqueConstraint("session_id", "idempotency_digest", name="session_turn_idempotency_unique"),
        UniqueConstraint("run_id", name="session_turn_run_unique"),
        UniqueConstraint("task_id", name="session_turn_task_unique"),
        is_member("status", TurnStatus, name="session_turn_status_check"),
        is_member("stop", TurnStop, name="session_turn_stop_check"),
        is_member("rating", FeedbackRating, name="session_turn_rating_check"),
        Index("session_turn_session_status_idx", "session_id", "status", "position"),
        Index("session_turn_status_updated_at_idx", "status", "updated_at"),
    )
