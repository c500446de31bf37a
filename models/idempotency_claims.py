"""Idempotency keys of requests that create a row."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, PrimaryKeyConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OUR_ID, Base, Created, Identified, Tenanted
from models.types import JSON_VALUE, UtcDateTime


class IdempotencyClaim(Identified, Tenanted, Created, Base):
    """What a request with an idempotency key has created. It is stored in the transaction that creates it."""

    __tablename__ = "idempotency_claims"

    digest: Mapped[str] = mapped_column(String(64))
    """Hash of the key and of its scope. The key itself is not stored."""
    fingerprint: Mapped[str] = mapped_column(String(64))
    """Hash of the request and its key, to recognize a repetition."""
    made_id: Mapped[str] = mapped_column(OUR_ID)
    answer: Mapped[Any | None] = mapped_column(JSON_VALUE)
    """The response, for kinds of requests that return the first one again even if what they created is gone."""
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        PrimaryKeyConstraint("id", name="idempotency_claim_pkey"),
        UniqueConstraint("tenant_id", "digest", name="idempotency_claim_tenant_digest_unique"),
        Index("idempotency_claim_expires_at_idx", "expires_at"),
    )
