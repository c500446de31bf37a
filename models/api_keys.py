"""API keys."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, PrimaryKeyConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OTHERS_ID, OUR_ID, Base, Created, Identified, Tenanted
from models.enums import KeyKind
from models.types import EnumText, UtcDateTime, is_member


class ApiKey(Identified, Tenanted, Created, Base):
    """A key to a workspace or to one agent. The key itself is not stored; the row stays when it is revoked."""

    __tablename__ = "api_keys"

    kind: Mapped[KeyKind] = mapped_column(EnumText(KeyKind))
    agent_id: Mapped[str | None] = mapped_column(OUR_ID)
    name: Mapped[str | None] = mapped_column(String(255))
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the key, in hexadecimal. The key is random enough that no slower hash is needed."""
    prefix: Mapped[str] = mapped_column(String(16))
    """The beginning of the key, by which people recognize it."""
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    replaced_by: Mapped[str | None] = mapped_column(OUR_ID)
    """The key that has replaced it in a rotation."""
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_by: Mapped[str | None] = mapped_column(OTHERS_ID)

    __table_args__ = (
        PrimaryKeyConstraint("id", name="api_key_pkey"),
        ForeignKeyConstraint(["agent_id"], ["agents.id"], name="api_key_agent_fkey"),
        UniqueConstraint("digest", name="api_key_digest_unique"),
        is_member("kind", KeyKind, name="api_key_kind_check"),
        CheckConstraint("(kind = 'app') = (agent_id IS NOT NULL)", name="api_key_agent_check"),
        Index("api_key_tenant_created_at_idx", "tenant_id", "created_at"),
        Index("api_key_tenant_agent_idx", "tenant_id", "agent_id"),
    )
