"""Credentials of providers: stored encrypted, listed without their values, and resolved when a run starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Select, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from errors import AgentCredentialNotFound, CredentialInUse, CredentialNotFound, MalformedRequest
from models import Credential
from services.audit import audit
from services.credential_cipher import CredentialCipher
from services.credential_marks import marks_of
from services.credential_types import (
    NAME_RULE,
    CredentialDescription,
    PutCredentialRequest,
    RekeyReport,
    StoredCredential,
    is_credential_name,
    is_new_credential_name,
)
from services.credential_uses import agents_that_need
from services.database import Database
from services.pages import NumberedPage, counted, window
from services.rekeying import rekey_all

MAX_AGENTS_TOLD = 5


class CredentialService:
    """Stores, lists, deletes and resolves credentials.

    Its methods raise DatabaseUnavailable besides the errors they name.
    """

    def __init__(self, database: Database, key_ring: Sequence[SecretStr]) -> None:
        self._database = database
        self._cipher = CredentialCipher(key_ring)

    def put_credential(
        self, tenant_id: str, name: str, wanted: PutCredentialRequest, *, changed_by: str | None
    ) -> StoredCredential:
        """Creates a credential, or replaces the values of the one with this name.

        Raises MalformedRequest for the name, and CredentialsUnavailable.
        """
        if not is_new_credential_name(name):
            raise MalformedRequest([{"type": "value_error", "loc": ["path", "name"], "msg": NAME_RULE, "input": None}])
        values = wanted.values.get_secret_value()
        marks = marks_of(values)
        changed = {
            "provider": wanted.provider,
            "encrypted_values": self._cipher.seal(values, tenant_id=tenant_id, name=name),
            "last4": marks.last4,
            "fingerprint": marks.fingerprint,
            "updated_by": changed_by,
        }
        with self._database.transaction() as session:
            _upsert(session, tenant_id, name, changed)
            row = session.scalars(_wanted(tenant_id, name)).one()
            stored = StoredCredential(CredentialDescription.of(row), is_new=row.version == 1)
            action = "credential_stored" if stored.is_new else "credential_replaced"
            details = {"name": name, "fingerprint": marks.fingerprint}
            change = audit(session, action, tenant_id=tenant_id, actor=changed_by, **details)
        change.log()
        return stored

    def list_credentials(self, tenant_id: str, *, page: int, limit: int) -> NumberedPage[CredentialDescription]:
        """Returns a page of a tenant's credentials, the most recently changed first."""
        with self._database.reading() as session:
            mine = Credential.tenant_id == tenant_id
            wanted = select(Credential).where(mine).order_by(Credential.updated_at.desc(), Credential.id.desc())
            found = [CredentialDescription.of(row) for row in session.scalars(window(wanted, page=page, limit=limit))]
            return NumberedPage.of(found, page=page, limit=limit, total=counted(session, Credential, mine))

    def delete_credential(self, tenant_id: str, name: str, *, deleted_by: str | None, force: bool = False) -> None:
        """Deletes a credential; runs that have begun keep its values.

        Raises CredentialNotFound, and CredentialInUse while active agents need it, unless ``force`` is set.
        """
        if not is_credential_name(name):
            raise CredentialNotFound  # before PostgreSQL is sent a character that it cannot store
        if not force:
            self._require_no_use(tenant_id, name)
        with self._database.transaction() as session:
            row = session.scalar(_wanted(tenant_id, name).with_for_update())
            session.delete(_require(row))
            details = {"name": name, "forced": force}
            change = audit(session, "credential_deleted", tenant_id=tenant_id, actor=deleted_by, **details)
        change.log()

    def resolve(self, session: Session, tenant_id: str, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Returns the values of each of the credentials, by name.

        They must not be kept longer than the run that needs them. Raises AgentCredentialNotFound when one is missing,
        CredentialUnreadable, and CredentialsUnavailable.
        """
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return {}
        possible = [name for name in wanted if is_credential_name(name)]
        query = select(Credential).where(Credential.tenant_id == tenant_id, Credential.name.in_(possible))
        found = {row.name: row for row in session.scalars(query)} if possible else {}
        for name in wanted:
            if name not in found:
                raise AgentCredentialNotFound(f"the agent names the credential '{name}', which is not there")
        return {
            name: self._cipher.unseal(found[name].encrypted_values, tenant_id=tenant_id, name=name) for name in wanted
        }

    def rekey(self) -> RekeyReport:
        """Encrypts all that is encrypted with the newest key. Raises what ``rekey_all`` raises."""
        return rekey_all(self._database, self._cipher)

    def _require_no_use(self, tenant_id: str, name: str) -> None:
        """Raises CredentialInUse while active agents need the credential.

        It runs before the transaction that deletes: it may take long, and on SQLite others would wait.
        """
        with self._database.reading() as session:
            _require(session.scalar(_wanted(tenant_id, name)))
            agents = agents_that_need(session, tenant_id, name, at_most=MAX_AGENTS_TOLD + 1)
        if agents:
            more = " and others" if len(agents) > MAX_AGENTS_TOLD else ""
            raise CredentialInUse(f"active agents need this credential: {', '.join(agents[:MAX_AGENTS_TOLD])}{more}")


def _wanted(tenant_id: str, name: str) -> Select[Credential]:
    return select(Credential).where(Credential.tenant_id == tenant_id, Credential.name == name)


def _require(row: Credential | None) -> Credential:
    if row is None:
        raise CredentialNotFound
    return row


def _upsert(session: Session, tenant_id: str, name: str, values: Mapping[str, Any]) -> None:
    """Inserts or updates in one statement, so that neither of two simultaneous requests fails."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    now = datetime.now(UTC)
    changed = {**values, "updated_at": now}
    first = {"created_by": values["updated_by"], "created_at": now}
    made = insert(Credential).values(tenant_id=tenant_id, name=name, **first, **changed)
    session.execute(
        made.on_conflict_do_update(
            index_elements=[Credential.tenant_id, Credential.name],
            set_={**changed, "version": Credential.version + 1},
        )
    )
