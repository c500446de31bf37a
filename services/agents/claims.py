"""Idempotency keys of requests that make a row: the same request made twice makes it once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from errors import IdempotencyKeyReused
from models import IdempotencyClaim
from runtime.runs import Claim
from services.database import Database

KEPT = timedelta(days=1)
FORGOTTEN_AT_ONCE = 100
"""Expired claims that one request clears away."""

ResultT = TypeVar("ResultT")


class _LostRace(Exception):
    """Another request has stored the same claim at this moment."""


def once(
    database: Database,
    tenant_id: str,
    claim: Claim | None,
    made_id: str,
    make: Callable[[Session], ResultT],
    again: Callable[[Session, str], ResultT],
) -> ResultT:
    """What ``make`` stores under ``made_id``, or, when the claim has made something before, ``again`` of its id.

    ``make`` runs in a transaction that the claim is stored in as well. Raises IdempotencyKeyReused.
    """
    while True:
        try:
            with database.transaction() as session:
                earlier = _take(session, tenant_id, claim, made_id) if claim is not None else None
                return make(session) if earlier is None else again(session, earlier)
        except _LostRace:  # it is stored by now, or undone
            continue


def _take(session: Session, tenant_id: str, claim: Claim, made_id: str) -> str | None:
    """Store the claim, or find what it has made."""
    now = datetime.now(UTC)
    _forget_expired(session, now)
    mine = (IdempotencyClaim.tenant_id == tenant_id, IdempotencyClaim.digest == claim.digest)
    earlier = session.scalar(select(IdempotencyClaim).where(*mine))
    if earlier is not None and earlier.expires_at > now:
        if earlier.fingerprint != claim.fingerprint:
            raise IdempotencyKeyReused
        return earlier.made_id
    if earlier is not None:
        session.delete(earlier)
        session.flush()
    session.add(
        IdempotencyClaim(
            tenant_id=tenant_id,
            digest=claim.digest,
            fingerprint=claim.fingerprint,
            made_id=made_id,
            expires_at=now + KEPT,
        )
    )
    try:
        session.flush()  # waits for another request under the same key to end
    except IntegrityError:
        raise _LostRace from None
    return None


def _forget_expired(session: Session, now: datetime) -> None:
    # Those that another request clears away at this moment are left to it: waiting for each other could not end.
    expired = (
        select(IdempotencyClaim.id)
        .where(IdempotencyClaim.expires_at <= now)
        .limit(FORGOTTEN_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    ids = session.scalars(expired).all()
    if ids:
        session.execute(delete(IdempotencyClaim).where(IdempotencyClaim.id.in_(ids)))
