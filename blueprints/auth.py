"""Bearer tokens, and stream tokens for readers that cannot send a header."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from flask import Request
from pydantic import SecretStr

STREAM_TOKEN = "token"  # noqa: S105 (the name of the query parameter)


def has_stream_token(request: Request) -> bool:
    """Whether the request carries a stream token, which allows it only to read. Only a GET can carry one."""
    return request.method in ("GET", "HEAD") and STREAM_TOKEN in request.args


def matching_digest(request: Request, tokens: Sequence[SecretStr]) -> bytes | None:
    """Returns the digest of the request's bearer token if it is one of ``tokens``, and otherwise None."""
    given = bearer_of(request)
    # All digests have the same length, and all are compared: the time taken reveals neither how long a token is nor
    # which one came close.
    digest = _digest(given)
    matches = [hmac.compare_digest(digest, _digest(token.get_secret_value())) for token in tokens]
    return digest if any(matches) else None


def bearer_of(request: Request) -> str:
    """Returns the request's bearer token; empty without one."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
