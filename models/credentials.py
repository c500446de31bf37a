"""Credentials of providers, encrypted."""

from __future__ import annotations

from sqlalchemy import Index, Integer, PrimaryKeyConstraint, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OTHERS_ID, Base, Identified, Tenanted, Updated

CREDENTIAL_NAME_LENGTH = 255


class Credential(Identified, Tenanted, Updated, Base):
    """A tenant's credential for a provider, which agents refer to by its name."""

    __tablename__ = "credentials"

    name: Mapped[str] = mapped_column(String(CREDENTIAL_NAME_LENGTH))
    provider: Mapped[str] = mapped_column(String(255))
    version: Mapped[int] = mapped_column(Integer, default=1)
    """The number of values that the credential has had so far."""
    encrypted_values: Mapped[str] = mapped_column(Text)
    """A Fernet token of JSON with the values, the tenant and the name of the credential."""
    last4: Mapped[str] = mapped_column(String(4))
    fingerprint: Mapped[str] = mapped_column(String(64))
    created_by: Mapped[str | None] = mapped_column(OTHERS_ID)
    updated_by: Mapped[str | None] = mapped_column(OTHERS_ID)

    __table_args__ = (
        PrimaryKeyConstraint("id", name="credential_pkey"),
        UniqueConstraint("tenant_id", "name", name="credential_tenant_name_unique"),
        Index("credential_tenant_updated_at_idx", "tenant_id", "updated_at"),
    )
