"""What agents remember between runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, String, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OTHERS_ID, OUR_ID, Base, Identified, Tenanted, Updated
from models.enums import SessionOwner, SessionStatus
from models.types import JSON_VALUE, EnumText, UtcDateTime, is_member

_OF_WORKFLOW = f"owner_type = '{SessionOwner.WORKFLOW_RUN.value}'"
_OF_CONVERSATION = f"owner_type = '{SessionOwner.CONVERSATION.value}'"


class AgentRuntimeSession(Identified, Tenanted, Updated, Base):
    """The session of an agent in a node of a workflow run, or in a conversation.

    The columns of the other kind are null.
    """

    __tablename__ = "agent_runtime_sessions"

    owner_type: Mapped[SessionOwner] = mapped_column(EnumText(SessionOwner))
    app_id: Mapped[str | None] = mapped_column(OTHERS_ID)
    workflow_id: Mapped[str | None] = mapped_column(OTHERS_ID)
    workflow_run_id: Mapped[str | None] = mapped_column(OTHERS_ID)
    node_id: Mapped[str | None] = mapped_column(String(255))
    node_execution_id: Mapped[str | None] = mapped_column(OTHERS_ID)
    binding_id: Mapped[str | None] = mapped_column(OTHERS_ID)
    conversation_id: Mapped[str | None] = mapped_column(OTHERS_ID)
    # Agents that are not ours occur too: a workflow may use some that this database does not know.
    agent_id: Mapped[str] = mapped_column(OTHERS_ID)
    agent_config_snapshot_id: Mapped[str] = mapped_column(OTHERS_ID)
    backend_run_id: Mapped[str | None] = mapped_column(OUR_ID)
    session_snapshot: Mapped[dict[str, Any]] = mapped_column(JSON_VALUE)
    composition_layer_specs: Mapped[list[dict[str, Any]]] = mapped_column(JSON_VALUE, default=list)
    status: Mapped[SessionStatus] = mapped_column(EnumText(SessionStatus), default=SessionStatus.ACTIVE)
    cleaned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        PrimaryKeyConstraint("id", name="agent_runtime_session_pkey"),
        is_member("owner_type", SessionOwner, name="agent_runtime_session_owner_type_check"),
        is_member("status", SessionStatus, name="agent_runtime_session_status_check"),
        # A unique index accepts any number of nulls: without these conditions a session could exist twice.
        CheckConstraint(
            f"NOT ({_OF_WORKFLOW}) OR (workflow_run_id IS NOT NULL AND node_id IS NOT NULL AND binding_id IS NOT NULL)",
            name="agent_runtime_session_workflow_scope_check",
        ),
        CheckConstraint(
            f"NOT ({_OF_CONVERSATION}) OR conversation_id IS NOT NULL",
            name="agent_runtime_session_conversation_scope_check",
        ),
        Index(
            "workflow_agent_runtime_session_scope_unique",
            "tenant_id",
            "workflow_run_id",
            "node_id",
            "binding_id",
            "agent_id",
            unique=True,
            sqlite_where=text(_OF_WORKFLOW),
            postgresql_where=text(_OF_WORKFLOW),
        ),
        Index(
            "conversation_agent_runtime_session_scope_unique",
            "tenant_id",
            "conversation_id",
            "agent_id",
            "agent_config_snapshot_id",
            unique=True,
            sqlite_where=text(_OF_CONVERSATION),
            postgresql_where=text(_OF_CONVERSATION),
        ),
        Index("workflow_agent_runtime_session_lookup_idx", "tenant_id", "workflow_run_id", "node_id", "status"),
        Index("workflow_agent_runtime_session_backend_run_idx", "backend_run_id"),
    )
