"""Sessions: what an agent, or a composition of layers, remembers from one turn to the next."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OTHERS_ID, OUR_ID, Base, Identified, Tenanted, Updated
from models.enums import MultitaskStrategy, SessionState
from models.types import JSON_VALUE, EnumText, is_member

SESSION_NAME_LENGTH = 255


class AgentSession(Identified, Tenanted, Updated, Base):
    """A session. An end user's conversation with an agent is one as well, with an ``end_user_id``."""

    __tablename__ = "sessions"

    state: Mapped[SessionState] = mapped_column(EnumText(SessionState), default=SessionState.ACTIVE)
    agent_id: Mapped[str | None] = mapped_column(OUR_ID)
    version_id: Mapped[str | None] = mapped_column(OUR_ID)
    """The version that its turns run, whichever is the agent's active one."""
    sealed_composition: Mapped[str | None] = mapped_column(Text)
    """The layers of a session without an agent, encrypted, since they contain credentials."""
    end_user_id: Mapped[str | None] = mapped_column(OUR_ID)
    name: Mapped[str] = mapped_column(String(SESSION_NAME_LENGTH), default="")
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSON_VALUE, default=dict)
    inputs: Mapped[dict[str, Any]] = mapped_column(JSON_VALUE, default=dict)
    multitask_strategy: Mapped[MultitaskStrategy] = mapped_column(
        EnumText(MultitaskStrategy), default=MultitaskStrategy.ENQUEUE
    )
    session_snapshot: Mapped[dict[str, Any] | None] = mapped_column(JSON_VALUE)
    """The snapshot of the last successful turn."""
    layer_specs: Mapped[list[dict[str, Any]]] = mapped_column(JSON_VALUE, default=list)
    """The layers that are entered again when the session is deleted, as far as the snapshot has them; never those with
    credentials."""
    turns: Mapped[int] = mapped_column(Integer, default=0)
    """The number of accepted turns, and so the position of the last one."""
    unfinished: Mapped[int] = mapped_column(Integer, default=0)
    """The number of turns that are not finalized. It is reliable while the row is locked."""
    last_run_id: Mapped[str | None] = mapped_column(OUR_ID)
    waiting_form_id: Mapped[str | None] = mapped_column(OUR_ID)
    """The form of the question that has no answer yet."""
    created_by: Mapped[str | None] = mapped_column(OTHERS_ID)

    __table_args__ = (
        PrimaryKeyConstraint("id", name="session_pkey"),
        ForeignKeyConstraint(["agent_id"], ["agents.id"], name="session_agent_fkey"),
        ForeignKeyConstraint(["version_id"], ["agent_config_snapshots.id"], name="session_version_fkey"),
        ForeignKeyConstraint(["end_user_id"], ["end_users.id"], name="session_end_user_fkey"),
        is_member("state", SessionState, name="session_state_check"),
        is_member("multitask_strategy", MultitaskStrategy, name="session_multitask_strategy_check"),
        CheckConstraint(
            "(agent_id IS NULL) = (version_id IS NULL) AND (agent_id IS NULL) = (sealed_composition IS NOT NULL)",
            name="session_source_check",
        ),
        Index("session_tenant_state_idx", "tenant_id", "state", "id"),
        Index("session_agent_idx", "agent_id"),
        Index("session_end_user_created_at_idx", "end_user_id", "created_at"),
        Index("session_end_user_updated_at_idx", "end_user_id", "updated_at"),
        Index("session_state_updated_at_idx", "state", "updated_at"),
    )
