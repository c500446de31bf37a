"""Idempotency keys: the same request made twice counts once.

A request with a key has a *claim*. A run keeps its claim in Redis and a turn in its row, as long as they exist
themselves; whatever else a request creates is created by ``once``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar, cast

from pydantic import BaseModel
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import IdempotencyClaim
from runtime.runs import Claim
from services.database import Database

EVERYBODY = ""
"""The scope of all callers, who share their keys as long as they cannot be told apart."""

KEPT = timedelta(days=1)
FORGOTTEN_AT_ONCE = 100
"""The most expired claims that one request deletes."""

ResultT = TypeVar("ResultT")


class _LostRace(Exception):
    """Another request has stored the same claim at this moment."""


def claim_of(request: BaseModel, key: str | None, *, scope: str = EVERYBODY) -> Claim | None:
    """Returns the claim of a request; None without a key. Callers of different scopes never share keys."""
    if key is None:
        return None
    # Without the defaults: a request that spells one out, or a later version that adds one, is still the same request.
    body = request.model_dump(mode="json", exclude={"idempotency_key"}, exclude_defaults=True)
    # With the key, which Redis does not contain: a hash of the body alone could be used to test guesses at its
    # credentials.
    return Claim(digest=_digest([scope, key]), fingerprint=_digest([key, body]))


def scope_of(kind: str, *ids: str) -> str:
    """Returns the scope of keys for one kind of request, of a tenant or within something of theirs."""
    return json.dumps([kind, *ids])


def once(
    database: Database,
    tenant_id: str,
    claim: Claim | None,
    made_id: str,
    make: Callable[[Session], ResultT],
    again: Callable[[Session, str], ResultT],
    *,
    keeps_answer: bool = False,
) -> ResultT:
    """Returns what ``make`` stores under ``made_id``, or ``again`` of the earlier id if the claim was used before.

    With ``keeps_answer`` the first result, which must be JSON, is stored and returned again, since what was created may
    no longer exist by then; claims of earlier versions have none. ``make`` runs in the transaction that stores the
    claim. Raises IdempotencyKeyReused.
    """
    while True:
        try:
            with database.transaction() as session:
                if claim is None:
                    return make(session)
                row, is_new = _take(session, tenant_id, claim, made_id)
                if not is_new:
                    return again(session, row.made_id) if row.answer is None else cast(ResultT, row.answer)
                told = make(session)
                if keeps_answer:
                    row.answer = told
                return told
        except _LostRace:  # by now it is stored or rolled back
            continue


def _digest(value: object) -> str:
    # Not RFC 8785: claims outlive an upgrade, and with other bytes a repeated request would be taken for another one.
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _take(session: Session, tenant_id: str, claim: Claim, made_id: str) -> tuple[IdempotencyClaim, bool]:
    """Returns the claim's row, and whether it is new."""
    now = datetime.now(UTC)
    _forget_expired(session, now)
    mine = (IdempotencyClaim.tenant_id == tenant_id, IdempotencyClaim.digest == claim.digest)
    earlier = session.scalar(select(IdempotencyClaim).where(*mine))
    if earlier is not None and earlier.expires_at > now:
        claim.require_same(earlier.fingerprint)
        return earlier, False
    if earlier is not None:
        session.delete(earlier)
        session.flush()
    row = IdempotencyClaim(
        tenant_id=tenant_id,
        digest=claim.digest,
        fingerprint=claim.fingerprint,
        made_id=made_id,
        expires_at=now + KEPT,
    )
    session.add(row)
    try:
        session.flush()  # waits for another request with the same key to end
    except IntegrityError:
        raise _LostRace from None
    return row, True


def _forget_expired(session: Session, now: datetime) -> None:
    # Rows that another request is deleting are skipped: waiting for each other could deadlock.
    expired = (
        select(IdempotencyClaim.id)
        .where(IdempotencyClaim.expires_at <= now)
        .limit(FORGOTTEN_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    ids = session.scalars(expired).all()
    if ids:
        session.execute(delete(IdempotencyClaim).where(IdempotencyClaim.id.in_(ids)))
