"""Rekeying: all that is stored encrypted is encrypted with the newest key of the ring, so that old keys can go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from errors import CredentialUnreadable
from models import AgentSession, Credential
from services.credential_cipher import CredentialCipher
from services.credential_types import RekeyReport
from services.database import Database

REKEYED_AT_ONCE = 100
"""The rows that one transaction encrypts anew. It takes milliseconds, for which others wait on SQLite."""


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A column of encrypted values, and the column of the names that are part of their encryption."""

    table: type[Credential] | type[AgentSession]
    column: InstrumentedAttribute[Any]
    name: InstrumentedAttribute[str]


_ALL = (
    _Sealed(Credential, Credential.encrypted_values, Credential.name),
    _Sealed(AgentSession, AgentSession.sealed_composition, AgentSession.id),
)


def rekey_all(database: Database, cipher: CredentialCipher) -> RekeyReport:
    """Encrypts every credential and every session's composition with the newest key, unless it is already.

    It may be interrupted at any time and run again, while others make changes. Raises CredentialsUnavailable and
    DatabaseUnavailable.
    """
    cipher.check_ring()
    report = RekeyReport(0, 0, [])
    for sealed in _ALL:
        last_id: str | None = ""
        while last_id is not None:
            with database.transaction() as session:
                last_id = _rekey_page(session, cipher, sealed, last_id, report)
    return report


def _rekey_page(
    session: Session, cipher: CredentialCipher, sealed: _Sealed, after: str, report: RekeyReport
) -> str | None:
    """Rekeys some rows and returns the id of the last one, or None when there are no more."""
    table = sealed.table
    wanted = select(table.id, table.tenant_id, sealed.name.label("name"), sealed.column.label("sealed"))
    wanted = wanted.where(table.id > after, sealed.column.is_not(None)).order_by(table.id)
    rows = session.execute(wanted.limit(REKEYED_AT_ONCE).with_for_update()).all()
    for row in rows:
        if cipher.has_newest_key(row.sealed):
            report.unchanged += 1
        elif _renew(session, cipher, sealed, row):
            report.renewed += 1
        else:
            report.unreadable.append((row.tenant_id, row.name))
    return rows[-1].id if rows else None


def _renew(session: Session, cipher: CredentialCipher, sealed: _Sealed, row: Row[Any]) -> bool:
    """Encrypts a row's values with the newest key; False when no key decrypts them."""
    try:
        values = cipher.unseal(row.sealed, tenant_id=row.tenant_id, name=row.name)
    except CredentialUnreadable:
        return False
    table = sealed.table
    # The values are the same, so the time of their last change is too.
    changed = {
        sealed.column: cipher.seal(values, tenant_id=row.tenant_id, name=row.name),
        table.updated_at: table.updated_at,
    }
    session.execute(update(table).where(table.id == row.id).values(changed))
    return True
