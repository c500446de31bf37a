"""The audit trail: who has changed which keys give access, or which credentials runs use.

Each change is a row, written in the same transaction, and then a line of the log.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import AuditEntry
from services.database import Database

logger = logging.getLogger("audit")

NOBODY_NAMED = "operator"
"""The actor of changes without a key or a named user, such as those at the command line."""


@dataclass(frozen=True, slots=True)
class AuditedChange:
    """A change whose row is part of a transaction."""

    action: str
    tenant_id: str
    actor: str
    details: dict[str, Any]

    def log(self) -> None:
        """Writes the line of the log. It must be called after the transaction has been committed."""
        told = "".join(f" {name}={value}" for name, value in self.details.items())
        logger.info("%s tenant=%s by=%s%s", self.action, self.tenant_id, self.actor, told)


def audit(session: Session, action: str, *, tenant_id: str, actor: str | None, **details: Any) -> AuditedChange:
    """Records a change. ``details`` are ids and marks, without spaces or secrets."""
    change = AuditedChange(action, tenant_id, actor or NOBODY_NAMED, details)
    session.add(AuditEntry(tenant_id=tenant_id, action=action, actor=change.actor, details=details))
    return change


class AuditTrail:
    """Reads the audit trail. Its methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def entries(self, tenant_id: str, *, limit: int) -> list[dict[str, Any]]:
        """Returns the last changes of a tenant, the newest first."""
        newest = select(AuditEntry).where(AuditEntry.tenant_id == tenant_id)
        order = (AuditEntry.created_at.desc(), AuditEntry.id.desc())
        with self._database.reading() as session:
            return [_told(row) for row in session.scalars(newest.order_by(*order).limit(limit))]


def _told(row: AuditEntry) -> dict[str, Any]:
    return {
        "id": row.id,
        "created_at": row.created_at.isoformat(),
        "action": row.action,
        "actor": row.actor,
        "details": row.details,
    }
