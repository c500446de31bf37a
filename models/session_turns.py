"""The turns of sessions: what was asked, by which run, and what came of it."""

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
    """One turn, which is a message to those who use Dify's service API."""

    __tablename__ = "session_turns"

    session_id: Mapped[str] = mapped_column(OUR_ID)
    position: Mapped[int] = mapped_column(Integer)
    """From 1, in the order of acceptance, which is that of execution."""
    run_id: Mapped[str] = mapped_column(OUR_ID)
    task_id: Mapped[str] = mapped_column(OUR_ID)
    """What Dify's service API stops it by."""
    version_id: Mapped[str | None] = mapped_column(OUR_ID)
    query: Mapped[str] = mapped_column(Text)
    is_answer: Mapped[bool] = mapped_column(Boolean, default=False)
    """Whether it only goes on with the answer to a question: the query is that of the turn that asked."""
    inputs: Mapped[dict[str, Any]] = mapped_column(JSON_VALUE, default=dict)
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSON_VALUE, default=dict)
    status: Mapped[TurnStatus] = mapped_column(EnumText(TurnStatus), default=TurnStatus.RUNNING)
    """Final as soon as the turn is finalized: then the session has, or has not, taken over what it learnt."""
    stop: Mapped[TurnStop | None] = mapped_column(EnumText(TurnStop))
    """What becomes of it when a later turn, or a person, has had it cancelled."""
    prepared_snapshot: Mapped[dict[str, Any] | None] = mapped_column(JSON_VALUE)
    """Of a turn that is about to succeed: the session takes it over once its run has."""
    deferred_call: Mapped[dict[str, Any] | None] = mapped_column(JSON_VALUE)
    """The model's question to a person, when the turn ends with one."""
    answer: Mapped[str] = mapped_column(Text, default="")
    thoughts: Mapped[list[dict[str, Any]]] = mapped_column(JSON_VALUE, default=list)
    usage: Mapped[dict[str, Any] | None] = mapped_column(JSON_VALUE)
    latency: Mapped[float] = mapped_column(Float, default=0.0)
    """Seconds from acceptance to the end."""
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
