"""What all tables have in common."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from models.types import UtcDateTime
from runtime.protocol.ids import new_id

OUR_ID = String(36)
"""A UUIDv7 that was created here."""

OTHERS_ID = String(64)
"""An id that comes from elsewhere: a tenant, an app, a workflow, a conversation, a user."""


class Base(DeclarativeBase):
    """All tables. Constraints and indexes are named one by one, because other code refers to their names."""


class Identified:
    """A row with an id that was created here."""

    id: Mapped[str] = mapped_column(OUR_ID, default=new_id, sort_order=-2)


class Tenanted:
    """A row of one tenant. Every query says of which one."""

    tenant_id: Mapped[str] = mapped_column(OTHERS_ID, sort_order=-1)


class Created:
    """A row with the time of its creation."""

    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=lambda: datetime.now(UTC), sort_order=1)


class Updated(Created):
    """A row with the time of its last change."""

    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime, default=lambda: datetime.now(UTC), onupdate=lambda: datetime.now(UTC), sort_order=2
    )
