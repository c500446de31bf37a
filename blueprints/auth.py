"""Bearer tokens, and the stream tokens of readers that cannot send a header."""

from __future__ import annotations

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
        stream_tokens.check(request.args[STREAM_TOKEN], run_id=(request.view_args or {})["run_id"])
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
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    given_bytes = given.strip().encode()
    # All tokens are compared, so that the time taken says nothing about which one came close.
    matches = [hmac.compare_digest(given_bytes, token.get_secret_value().encode()) for token in tokens]
    if scheme.lower() != "bearer" or not any(matches):
        raise Unauthorized
