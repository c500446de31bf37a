"""Forms: the questions that agents have asked people in conversations."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKeyConstraint, Index, PrimaryKeyConstraint, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OUR_ID, Base, Identified, Tenanted, Updated
from models.enums import FormStatus
from models.types import JSON_VALUE, EnumText, UtcDateTime, is_member


class HumanInputForm(Identified, Tenanted, Updated, Base):
    """A question, and its answer if there is one. A session has at most one that waits."""

    __tablename__ = "human_input_forms"

    token: Mapped[str] = mapped_column(String(64))
    session_id: Mapped[str] = mapped_column(OUR_ID)
    turn_id: Mapped[str] = mapped_column(OUR_ID)
    """The turn that ended with the question."""
    tool_call_id: Mapped[str] = mapped_column(Text)
    question: Mapped[dict[str, Any]] = mapped_column(JSON_VALUE)
    """The arguments of the model's call: title, question, markdown, fields, actions."""
    status: Mapped[FormStatus] = mapped_column(EnumText(FormStatus), default=FormStatus.WAITING)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON_VALUE)
    """The result that the model gets."""
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        PrimaryKeyConstraint("id", name="human_input_form_pkey"),
        ForeignKeyConstraint(["session_id"], ["sessions.id"], name="human_input_form_session_fkey"),
        UniqueConstraint("token", name="human_input_form_token_unique"),
        is_member("status", FormStatus, name="human_input_form_status_check"),
        Index("human_input_form_session_status_idx", "session_id", "status"),
        Index("human_input_form_status_expires_at_idx", "status", "expires_at"),
    )
