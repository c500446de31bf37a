"""API keys: creating, listing, rotating and revoking them, and finding who holds one."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from errors import AgentNotFound, DatabaseUnavailable, KeyNotActive, KeyNotFound
from models import Agent, ApiKey
from models.enums import AgentScope, AgentStatus
from runtime.protocol.ids import is_id
from services.audit import audit
from services.database import Database
from services.key_cache import KeyCache, KeyHolder
from services.key_lookups import KeyLookups
from services.key_secrets import digest_of, may_be_key, new_secret
from services.key_types import CreateKeyRequest, KeyDescription, NewKey
from services.pages import NumberedPage, counted, window

logger = logging.getLogger(__name__)

AT_ONCE = 500
"""The most keys in one statement."""

USE_NOTED_EVERY = timedelta(minutes=1)
USE_NOTED_WITHIN_SECONDS = 0.2
"""The longest that a caller waits for the use of their key to be recorded."""


class ApiKeyService:
    """Manages keys. One per process, because it caches for a few seconds which keys are valid.

    Its methods raise DatabaseUnavailable besides the errors they name.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache = KeyCache()
        self._lookups = KeyLookups(self._look_up)

    def create_key(self, tenant_id: str, wanted: CreateKeyRequest, *, created_by: str | None) -> NewKey:
        """Creates a key, which is returned this once and stored nowhere. Raises AgentNotFound."""
        secret = new_secret(wanted.kind)
        with self._database.transaction() as session:
            if wanted.agent_id is not None:
                _require_agent(session, tenant_id, wanted.agent_id)
            row = ApiKey(
                tenant_id=tenant_id,
                kind=wanted.kind,
                agent_id=wanted.agent_id,
                name=wanted.name,
                digest=secret.digest,
                prefix=secret.prefix,
                expires_at=wanted.expires_at,
                created_by=created_by,
            )
            session.add(row)
            session.flush()
            made = NewKey(secret.key, KeyDescription.of(row))
            details = {"id": row.id, "kind": wanted.kind, "agent": wanted.agent_id}
            change = audit(session, "key_created", tenant_id=tenant_id, actor=created_by, **details)
        change.log()
        return made

    def list_keys(self, tenant_id: str, *, page: int, limit: int) -> NumberedPage[KeyDescription]:
        """Returns a page of a tenant's keys, the newest first, including those that are no longer valid."""
        with self._database.reading() as session:
            mine = ApiKey.tenant_id == tenant_id
            wanted = select(ApiKey).where(mine).order_by(ApiKey.created_at.desc(), ApiKey.id.desc())
            found = [KeyDescription.of(row) for row in session.scalars(window(wanted, page=page, limit=limit))]
            return NumberedPage.of(found, page=page, limit=limit, total=counted(session, ApiKey, mine))

    def rotate_key(self, tenant_id: str, key_id: str, *, overlap_seconds: int, created_by: str | None) -> NewKey:
        """Creates a key that replaces another, which stays valid for the overlap.

        The new one gives the same access, under the same name, until the old one would have expired. Raises
        KeyNotFound, or KeyNotActive for a key that is not valid or has been rotated already.
        """
        now = datetime.now(UTC)
        with self._database.transaction() as session:
            old = _find_key(session, tenant_id, key_id)
            if old.replaced_by is not None or not _is_valid(old, now):
                raise KeyNotActive
            secret = new_secret(old.kind)
            new = ApiKey(
                tenant_id=tenant_id,
                kind=old.kind,
                agent_id=old.agent_id,
                name=old.name,
                digest=secret.digest,
                prefix=secret.prefix,
                expires_at=old.expires_at,
                created_by=created_by,
            )
            session.add(new)
            session.flush()
            end = now + timedelta(seconds=overlap_seconds)
            old.expires_at = end if old.expires_at is None else min(end, old.expires_at)
            old.replaced_by = new.id
            made = NewKey(secret.key, KeyDescription.of(new))
            details = {"id": key_id, "replaced_by": new.id, "overlap_seconds": overlap_seconds}
            change = audit(session, "key_rotated", tenant_id=tenant_id, actor=created_by, **details)
        self._cache.forget(key_id)
        change.log()
        return made

    def revoke_key(self, tenant_id: str, key_id: str, *, revoked_by: str | None, with_made: bool = False) -> int:
        """Revokes a key: at once here, and in other processes when their caches expire.

        If it is revoked already, nothing happens. ``with_made`` also revokes the keys that were created with it, those
        that were created with them, and so on: a thief may have used the key to create another. Returns how many of
        those stay valid. Raises KeyNotFound.
        """
        now = datetime.now(UTC)
        with self._database.transaction() as session:
            first = _find_key(session, tenant_id, key_id)
            made = _made_with(session, tenant_id, key_id)
            rows = [first, *made] if with_made else [first]
            ended = [row for row in rows if row.revoked_at is None]
            for row in ended:
                row.revoked_at = now
            changes = [audit(session, "key_revoked", tenant_id=tenant_id, actor=revoked_by, id=row.id) for row in ended]
        for row in rows:
            self._cache.forget(row.id)
        for change in changes:
            change.log()
        return sum(_is_valid(row, now) for row in made)

    def find_holder(self, key: str) -> KeyHolder | None:
        """Returns the holder of this key; None when there is no such key or it is no longer valid."""
        if not may_be_key(key):
            return None  # spares the database a query for a text that cannot be a key
        digest, now = digest_of(key), datetime.now(UTC)
        holder = self._cache.get(digest)
        if holder is None:
            holder = self._lookups.find(digest)
        return holder if holder is not None and holder.is_valid(now) else None

    def _look_up(self, digests: Collection[str]) -> dict[str, KeyHolder]:
        wanted, now = list(digests), datetime.now(UTC)
        with self._database.reading() as session:
            rows = [
                row
                for start in range(0, len(wanted), AT_ONCE)
                for row in session.scalars(select(ApiKey).where(ApiKey.digest.in_(wanted[start : start + AT_ONCE])))
                if _is_valid(row, now)
            ]
        found = {}
        for row in rows:
            if row.last_used_at is None or row.last_used_at <= now - USE_NOTED_EVERY:
                self._note_use(row.id, now)
            holder = KeyHolder(row.id, row.tenant_id, row.kind, row.agent_id, row.expires_at)
            self._cache.put(row.digest, holder)
            found[row.digest] = holder
        return found

    def _note_use(self, key_id: str, now: datetime) -> None:
        stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= now - USE_NOTED_EVERY)
        try:
            with self._database.transaction(timeout_seconds=USE_NOTED_WITHIN_SECONDS) as session:
                session.execute(update(ApiKey).where(ApiKey.id == key_id, stale).values(last_used_at=now))
        except DatabaseUnavailable:  # then the next use is recorded; no caller is refused for it
            logger.info("the use of a key was not noted: the database is busy")


def _require_agent(session: Session, tenant_id: str, agent_id: str) -> None:
    """Raises AgentNotFound unless the tenant has such an agent, active and in its roster."""
    is_servable = (Agent.status == AgentStatus.ACTIVE, Agent.scope == AgentScope.ROSTER)
    found = select(Agent.id).where(Agent.id == agent_id, Agent.tenant_id == tenant_id, *is_servable)
    if not is_id(agent_id) or session.scalar(found) is None:
        raise AgentNotFound


def _made_with(session: Session, tenant_id: str, key_id: str) -> list[ApiKey]:
    """Returns the keys that were created with a key, directly or indirectly.

    Those that replace one in a rotation are included.
    """
    found: dict[str, ApiKey] = {}
    makers = {key_id}
    while makers:
        is_made = or_(
            ApiKey.created_by.in_(makers),
            ApiKey.id.in_(select(ApiKey.replaced_by).where(ApiKey.id.in_(makers), ApiKey.replaced_by.is_not(None))),
        )
        rows = session.scalars(select(ApiKey).where(ApiKey.tenant_id == tenant_id, is_made).with_for_update())
        new = {row.id: row for row in rows if row.id != key_id and row.id not in found}
        found |= new
        makers = set(new)
    return list(found.values())


def _find_key(session: Session, tenant_id: str, key_id: str) -> ApiKey:
    """Locks a key of the tenant until the end of the transaction, and returns it. Raises KeyNotFound."""
    if not is_id(key_id):
        raise KeyNotFound
    wanted = select(ApiKey).where(ApiKey.id == key_id, ApiKey.tenant_id == tenant_id).with_for_update()
    row = session.scalar(wanted)
    if row is None:
        raise KeyNotFound
    return row


def _is_valid(row: ApiKey, now: datetime) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > now)
