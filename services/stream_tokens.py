"""Stream tokens: signed, short-lived permission to read, for browsers, which cannot send a header with a stream.

A token is for one run, or for the feed of all runs or of a tenant's, and for nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from itsdangerous import BadData, URLSafeSerializer
from pydantic import SecretStr

from errors import InvalidToken, StreamTokensUnavailable

SALT = "greenrun.stream-token"
"""Separates the keys derived for these tokens from those for the ring's other uses."""


FEED = "feed"
"""The subject of tokens for the feed of all runs. No run has this id, nor one that begins with it."""


@dataclass(frozen=True, slots=True)
class StreamToken:
    """A new token, and when it expires."""

    token: str
    expires_at: datetime


class StreamTokens:
    """Issues and checks stream tokens with a ring of keys: the first signs, and all of them verify."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        # itsdangerous wants the newest key last.
        ring = [key.get_secret_value() for key in reversed(keys)]
        how = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._serializer = URLSafeSerializer(ring, salt=SALT, signer_kwargs=how) if ring else None

    def issue(self, subject: str, *, ttl_seconds: int) -> StreamToken:
        """Issues a token for a run, by its id, or for a feed, by its ``feed_of``, which is valid for ``ttl_seconds``.

        Raises StreamTokensUnavailable when there is no key.
        """
        if self._serializer is None:
            raise StreamTokensUnavailable
        expires_at = datetime.now(UTC) + timedelta(seconds=ttl_seconds)
        token = self._serializer.dumps([subject, expires_at.timestamp()])
        return StreamToken(str(token), expires_at)

    def check_run(self, token: str, run_id: str) -> None:
        """Raises InvalidToken, the same for whatever is wrong, unless the token is valid for this run now."""
        if self._open(token) != run_id:
            raise InvalidToken

    def check_feed(self, token: str) -> str | None:
        """Returns the tenant whose feed the token is valid for now; None for the feed of all runs.

        Raises InvalidToken.
        """
        feed, is_of_tenant, tenant_id = self._open(token).partition(":")
        if feed != FEED:
            raise InvalidToken
        return tenant_id if is_of_tenant else None

    def _open(self, token: str) -> str:
        """Returns the subject of a valid token. Raises InvalidToken."""
        if self._serializer is None:
            raise InvalidToken
        try:
            subject, expires_at = self._serializer.loads(token)
        except BadData:
            raise InvalidToken from None
        if expires_at <= datetime.now(UTC).timestamp():
            raise InvalidToken
        return str(subject)


def feed_of(tenant_id: str | None) -> str:
    """Returns the subject of tokens for the feed of a tenant's runs; of all runs for None."""
    return FEED if tenant_id is None else f"{FEED}:{tenant_id}"
