"""Tags: names for versions of an agent, such as ``stable``."""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint, Index, PrimaryKeyConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OTHERS_ID, OUR_ID, Base, Identified, Tenanted, Updated

TAG_LENGTH = 64


class AgentTag(Identified, Tenanted, Updated, Base):
    """A name that points to one version of an agent, and can be moved to another."""

    __tablename__ = "agent_tags"

    agent_id: Mapped[str] = mapped_column(OUR_ID)
    tag: Mapped[str] = mapped_column(String(TAG_LENGTH))
    snapshot_id: Mapped[str] = mapped_column(OUR_ID)
    updated_by: Mapped[str | None] = mapped_column(OTHERS_ID)

    __table_args__ = (
        PrimaryKeyConstraint("id", name="agent_tag_pkey"),
        ForeignKeyConstraint(["agent_id"], ["agents.id"], name="agent_tag_agent_fkey"),
        ForeignKeyConstraint(["snapshot_id"], ["agent_config_snapshots.id"], name="agent_tag_snapshot_fkey"),
        UniqueConstraint("agent_id", "tag", name="agent_tag_agent_tag_unique"),
        Index("agent_tag_tenant_agent_idx", "tenant_id", "agent_id"),
    )
