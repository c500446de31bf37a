"""The audit trail."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index, PrimaryKeyConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OTHERS_ID, Base, Created, Identified, Tenanted
from models.types import JSON_VALUE


class AuditEntry(Identified, Tenanted, Created, Base):
    """One change, recorded in the transaction that made it. It is never changed."""

    __tablename__ = "audit_entries"

    action: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(OTHERS_ID)
    details: Mapped[dict[str, Any]] = mapped_column(JSON_VALUE)
    """Ids and marks of what was changed, without secrets."""

    __table_args__ = (
        PrimaryKeyConstraint("id", name="audit_entry_pkey"),
        Index("audit_entry_tenant_created_at_idx", "tenant_id", "created_at"),
    )
