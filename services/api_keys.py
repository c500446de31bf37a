"""API keys: made, listed, rotated, revoked, and told by what a caller sends."""

from __future__ import annotations

import hashlib
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from errors import AgentNotFound, DatabaseUnavailable, KeyNotActive, KeyNotFound
from models import Agent, ApiKey
from models.enums import AgentScope, AgentStatus, KeyKind
from runtime.protocol.ids import is_id
from services.audit import audit
from services.database import Database
from services.key_cache import KeyCache, KeyHolder
from services.key_types import CreateKeyRequest, KeyDescription, NewKey
from services.pages import NumberedPage, counted, window

logger = logging.getLogger(__name__)

PREFIXES = {KeyKind.WORKSPACE: "ws-", KeyKind.APP: "app-"}
RANDOM_BYTES = 36
"""288 bits. What is shown of them as the prefix leaves 258."""
SHOWN_CHARS = 5

USE_NOTED_EVERY = timedelta(minutes=1)
USE_NOTED_WITHIN_SECONDS = 0.2
"""A caller does not wait longer than this for the note of his key's use."""


@dataclass(frozen=True, slots=True)
class _Secret:
    key: str
    prefix: str
    digest: str


class ApiKeyService:
    """The rules of keys. One a process, because it remembers for a few seconds which keys are valid.

    Its methods raise DatabaseUnavailable besides what they say.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache = KeyCache()

    def create_key(self, tenant_id: str, wanted: CreateKeyRequest, *, created_by: str | None) -> NewKey:
        """Make a key. It is in the answer, and from then on nowhere. Raises AgentNotFound."""
        secret = _new_secret(wanted.kind)
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
        audit("key_created", tenant_id=tenant_id, actor=created_by, id=row.id, kind=wanted.kind, agent=wanted.agent_id)
        return made

    def list_keys(self, tenant_id: str, *, page: int, limit: int) -> NumberedPage[KeyDescription]:
        """Keys of a tenant, the newest first; those that are no longer valid as well."""
        with self._database.reading() as session:
            mine = ApiKey.tenant_id == tenant_id
            wanted = select(ApiKey).where(mine).order_by(ApiKey.created_at.desc(), ApiKey.id.desc())
            found = [KeyDescription.of(row) for row in session.scalars(window(wanted, page=page, limit=limit))]
            return NumberedPage.of(found, page=page, limit=limit, total=counted(session, ApiKey, mine))

    def rotate_key(self, tenant_id: str, key_id: str, *, overlap_seconds: int, created_by: str | None) -> NewKey:
        """Make a key in the place of another, which stays valid for the overlap.

        The new one opens the same, under the same name, until the old one would have expired. Raises KeyNotFound, or
        KeyNotActive for a key that is not valid or has been rotated already.
        """
        now = datetime.now(UTC)
        with self._database.transaction() as session:
            old = _find_key(session, tenant_id, key_id)
            if old.replaced_by is not None or not _is_valid(old, now):
                raise KeyNotActive
            secret = _new_secret(old.kind)
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
        self._cache.forget(key_id)
        what = {"id": key_id, "replaced_by": new.id, "overlap_seconds": overlap_seconds}
        audit("key_rotated", tenant_id=tenant_id, actor=created_by, **what)
        return made

    def revoke_key(self, tenant_id: str, key_id: str, *, revoked_by: str | None) -> None:
        """End a key: at once here, and in other processes as soon as they look again; again is no error.

        Raises KeyNotFound.
        """
        with self._database.transaction() as session:
            row = _find_key(session, tenant_id, key_id)
            was_revoked = row.revoked_at is not None
            row.revoked_at = row.revoked_at or datetime.now(UTC)
        self._cache.forget(key_id)
        if not was_revoked:
            audit("key_revoked", tenant_id=tenant_id, actor=revoked_by, id=key_id)

    def find_holder(self, key: str) -> KeyHolder | None:
        """Who has this key; None when it is none or no longer valid."""
        if not key.startswith(tuple(PREFIXES.values())):
            return None  # the database is not asked for what is no key
        digest, now = _digest(key), datetime.now(UTC)
        holder = self._cache.get(digest)
        if holder is None:
            holder = self._look_up(digest, now)
        return holder if holder is not None and holder.is_valid(now) else None

    def _look_up(self, digest: str, now: datetime) -> KeyHolder | None:
        with self._database.reading() as session:
            row = session.scalar(select(ApiKey).where(ApiKey.digest == digest))
        if row is None or not _is_valid(row, now):
            return None
        if row.last_used_at is None or row.last_used_at <= now - USE_NOTED_EVERY:
            self._note_use(row.id, now)
        holder = KeyHolder(row.id, row.tenant_id, row.kind, row.agent_id, row.expires_at)
        self._cache.put(digest, holder)
        return holder

    def _note_use(self, key_id: str, now: datetime) -> None:
        stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= now - USE_NOTED_EVERY)
        try:
            with self._database.transaction(timeout_seconds=USE_NOTED_WITHIN_SECONDS) as session:
                session.execute(update(ApiKey).where(ApiKey.id == key_id, stale).values(last_used_at=now))
        except DatabaseUnavailable:  # then the next use is noted; no caller is refused for it
            logger.info("the use of a key was not noted: the database is busy")


def _require_agent(session: Session, tenant_id: str, agent_id: str) -> None:
    """Raise AgentNotFound unless the tenant has such an agent, active and of its roster."""
    is_servable = (Agent.status == AgentStatus.ACTIVE, Agent.scope == AgentScope.ROSTER)
    found = select(Agent.id).where(Agent.id == agent_id, Agent.tenant_id == tenant_id, *is_servable)
    if not is_id(agent_id) or session.scalar(found) is None:
        raise AgentNotFound


def _find_key(session: Session, tenant_id: str, key_id: str) -> ApiKey:
    """A key of the tenant, which nobody else changes until the end of the transaction. Raises KeyNotFound."""
    if not is_id(key_id):
        raise KeyNotFound
    wanted = select(ApiKey).where(ApiKey.id == key_id, ApiKey.tenant_id == tenant_id).with_for_update()
    row = session.scalar(wanted)
    if row is None:
        raise KeyNotFound
    return row


def _is_valid(row: ApiKey, now: datetime) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > now)


def _new_secret(kind: KeyKind) -> _Secret:
    key = PREFIXES[kind] + secrets.token_urlsafe(RANDOM_BYTES)
    return _Secret(key, prefix=key[: len(PREFIXES[kind]) + SHOWN_CHARS], digest=_digest(key))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
