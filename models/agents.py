"""Agents: what stays the same over all their versions."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Computed, Index, PrimaryKeyConstraint, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OTHERS_ID, OUR_ID, Base, Identified, Tenanted, Updated
from models.enums import AgentKind, AgentScope, AgentSource, AgentStatus, IconType
from models.types import EnumText, UtcDateTime, is_member

NAME_LENGTH = 255


class Agent(Identified, Tenanted, Updated, Base):
    """An agent. It can be archived, but is never deleted."""

    __tablename__ = "agents"

    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    description: Mapped[str] = mapped_column(Text, default="")
    icon_type: Mapped[IconType | None] = mapped_column(EnumText(IconType))
    icon: Mapped[str | None] = mapped_column(String(255))
    icon_background: Mapped[str | None] = mapped_column(String(255))
    agent_kind: Mapped[AgentKind] = mapped_column(EnumText(AgentKind), default=AgentKind.DIFY_AGENT)
    scope: Mapped[AgentScope] = mapped_column(EnumText(AgentScope))
    source: Mapped[AgentSource] = mapped_column(EnumText(AgentSource))
    app_id: Mapped[str | None] = mapped_column(OTHERS_ID)
    workflow_id: Mapped[str | None] = mapped_column(OTHERS_ID)
    workflow_node_id: Mapped[str | None] = mapped_column(String(255))
    # No foreign key: each of the two tables would need the other first, which SQLite cannot migrate.
    active_config_snapshot_id: Mapped[str | None] = mapped_column(OUR_ID)
    status: Mapped[AgentStatus] = mapped_column(EnumText(AgentStatus), default=AgentStatus.ACTIVE)
    roster_unique_name: Mapped[str | None] = mapped_column(
        String(NAME_LENGTH),
        Computed("CASE WHEN scope = 'roster' AND status = 'active' THEN name END", persisted=True),
    )
    """The name of an active agent of the roster, which no other one of the tenant may have; null for all other
    agents."""
    created_by: Mapped[str | None] = mapped_column(OTHERS_ID)
    updated_by: Mapped[str | None] = mapped_column(OTHERS_ID)
    archived_by: Mapped[str | None] = mapped_column(OTHERS_ID)
    archived_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        PrimaryKeyConstraint("id", name="agent_pkey"),
        UniqueConstraint("tenant_id", "roster_unique_name", name="agent_tenant_roster_unique_name"),
        is_member("icon_type", IconType, name="agent_icon_type_check"),
        is_member("agent_kind", AgentKind, name="agent_kind_check"),
        is_member("scope", AgentScope, name="agent_scope_check"),
        is_member("source", AgentSource, name="agent_source_check"),
        is_member("status", AgentStatus, name="agent_status_check"),
        Index("agent_tenant_updated_at_idx", "tenant_id", "updated_at"),
        Index("agent_tenant_scope_idx", "tenant_id", "scope"),
        Index("agent_tenant_workflow_id_idx", "tenant_id", "workflow_id"),
        Index("agent_tenant_app_id_idx", "tenant_id", "app_id"),
        Index("agent_active_config_snapshot_id_idx", "active_config_snapshot_id"),
    )
