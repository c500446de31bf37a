"""Bearer tokens."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from flask import Request
from pydantic import SecretStr

from errors import Unauthorized


def require_bearer(request: Request, tokens: Sequence[SecretStr]) -> None:
    """Raise Unauthorized unless the request has one of the tokens; with no tokens everybody may pass."""
    if tokens:
        require_key(request, tokens)


def require_key(request: Request, tokens: Sequence[SecretStr]) -> None:
    """Raise Unauthorized unless the request has one of the tokens; with no tokens nobody may pass."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    given_bytes = given.strip().encode()
    # All tokens are compared, so that the time taken says nothing about which one came close.
    matches = [hmac.compare_digest(given_bytes, token.get_secret_value().encode()) for token in tokens]
    if scheme.lower() != "bearer" or not any(matches):
        raise Unauthorized
