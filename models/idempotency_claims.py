"""Idempotency keys of requests that make a row."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, PrimaryKeyConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OUR_ID, Base, Created, Identified, Tenanted
from models.types import JSON_VALUE, UtcDateTime


class IdempotencyClaim(Identified, Tenanted, Created, Base):
    """What a request under an idempotency key has made. It is written in the transaction that makes it."""

    __tablename__ = "idempotency_claims"

    digest: Mapped[str] = mapped_column(String(64))
    """Of the key, and of who uses it for what. The key itself is nowhere."""
    fingerprint: Mapped[str] = mapped_column(String(64))
    """Of the request, without its key."""
    made_id: Mapped[str] = mapped_column(OUR_ID)
    answer: Mapped[Any | None] = mapped_column(JSON_VALUE)
    """What was told of it, where a repeated request is told the same although it may be gone."""
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        PrimaryKeyConstraint("id", name="idempotency_claim_pkey"),
        UniqueConstraint("tenant_id", "digest", name="idempotency_claim_tenant_digest_unique"),
        Index("idempotency_claim_expires_at_idx", "expires_at"),
    )
