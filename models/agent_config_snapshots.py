"""The versions of agents."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKeyConstraint, Index, Integer, PrimaryKeyConstraint, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OTHERS_ID, OUR_ID, Base, Created, Identified, Tenanted
from models.types import JSON_VALUE


class AgentConfigSnapshot(Identified, Tenanted, Created, Base):
    """One version of an agent's configuration (its Soul). It is never changed or deleted."""

    __tablename__ = "agent_config_snapshots"

    agent_id: Mapped[str] = mapped_column(OUR_ID)
    version: Mapped[int] = mapped_column(Integer)
    """Counted from 1, without gaps."""
    config_snapshot: Mapped[dict[str, Any]] = mapped_column(JSON_VALUE)
    """The Soul. It contains references to secrets, but no secrets."""
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the canonical JSON of ``config_snapshot``, in hexadecimal."""
    summary: Mapped[str | None] = mapped_column(Text)
    version_note: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str | None] = mapped_column(OTHERS_ID)

    __table_args__ = (
        PrimaryKeyConstraint("id", name="agent_config_snapshot_pkey"),
        ForeignKeyConstraint(["agent_id"], ["agents.id"], name="agent_config_snapshot_agent_fkey"),
        UniqueConstraint("agent_id", "version", name="agent_config_snapshot_agent_version_unique"),
        Index("agent_config_snapshot_tenant_agent_created_at_idx", "tenant_id", "agent_id", "created_at"),
        Index("agent_config_snapshot_tenant_created_at_idx", "tenant_id", "created_at"),
    )
