"""Bearer tokens, and the stream tokens of readers that cannot send a header."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from flask import Request
from pydantic import SecretStr

from errors import Unauthorized
from services.stream_tokens import StreamTokens

STREAM_TOKEN = "token"  # noqa: S105 (the name of the query parameter)


def require_bearer_or_stream_token(request: Request, tokens: Sequence[SecretStr], stream_tokens: StreamTokens) -> None:
    """Raise InvalidToken or Unauthorized unless the request has one of the tokens, or a stream token for what it reads.

    A stream token that is given counts alone: a bad one is refused also where everybody may pass.
    """
    if has_stream_token(request):
        stream_tokens.check(request.args[STREAM_TOKEN], subject=(request.view_args or {})["run_id"])
    else:
        require_bearer(request, tokens)


def has_stream_token(request: Request) -> bool:
    """Whether the request reads one run by a stream token, and may do nothing else. Nothing but a GET can have one."""
    reads_a_run = request.method in ("GET", "HEAD") and "run_id" in (request.view_args or {})
    return reads_a_run and STREAM_TOKEN in request.args


def require_bearer(request: Request, tokens: Sequence[SecretStr]) -> None:
    """Raise Unauthorized unless the request has one of the tokens; with no tokens everybody may pass."""
    if tokens:
        require_key(request, tokens)


def require_key(request: Request, tokens: Sequence[SecretStr]) -> None:
    """Raise Unauthorized unless the request has one of the tokens; with no tokens nobody may pass."""
    if matching_digest(request, tokens) is None:
        raise Unauthorized


def matching_digest(request: Request, tokens: Sequence[SecretStr]) -> bytes | None:
    """The digest of the request's bearer token if it is one of ``tokens``, and otherwise None."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Digests all have one length, and all of them are compared: the time taken says neither how long a token is, nor
    # which one came close.
    digest = _digest(given.strip())
    matches = [hmac.compare_digest(digest, _digest(token.get_secret_value())) for token in tokens]
    return digest if any(matches) and scheme.lower() == "bearer" else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
