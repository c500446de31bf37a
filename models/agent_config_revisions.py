"""The revisions of agents: their history."""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint, Index, Integer, PrimaryKeyConstraint, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OTHERS_ID, OUR_ID, Base, Created, Identified, Tenanted
from models.enums import RevisionOperation
from models.types import EnumText, is_member

OPERATION_LENGTH = 64


class AgentConfigRevision(Identified, Tenanted, Created, Base):
    """One step in the history of an agent: a save or a restore. It is never changed or deleted."""

    __tablename__ = "agent_config_revisions"

    agent_id: Mapped[str] = mapped_column(OUR_ID)
    previous_snapshot_id: Mapped[str | None] = mapped_column(OUR_ID)
    current_snapshot_id: Mapped[str] = mapped_column(OUR_ID)
    revision: Mapped[int] = mapped_column(Integer)
    """Counted from 1, without gaps."""
    operation: Mapped[RevisionOperation] = mapped_column(EnumText(RevisionOperation, OPERATION_LENGTH))
    summary: Mapped[str | None] = mapped_column(Text)
    version_note: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str | None] = mapped_column(OTHERS_ID)

    __table_args__ = (
        PrimaryKeyConstraint("id", name="agent_config_revision_pkey"),
        ForeignKeyConstraint(["agent_id"], ["agents.id"], name="agent_config_revision_agent_fkey"),
        ForeignKeyConstraint(
            ["previous_snapshot_id"],
            ["agent_config_snapshots.id"],
            name="agent_config_revision_previous_snapshot_fkey",
        ),
        ForeignKeyConstraint(
            ["current_snapshot_id"],
            ["agent_config_snapshots.id"],
            name="agent_config_revision_current_snapshot_fkey",
        ),
        UniqueConstraint("agent_id", "revision", name="agent_config_revision_agent_revision_unique"),
        is_member("operation", RevisionOperation, name="agent_config_revision_operation_check"),
        Index("agent_config_revision_tenant_agent_created_at_idx", "tenant_id", "agent_id", "created_at"),
        Index(
            "agent_config_revision_tenant_current_snapshot_created_at_idx",
            "tenant_id",
            "current_snapshot_id",
            "created_at",
        ),
    )
