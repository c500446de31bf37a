"""The idempotency key of a request, from its header or its body."""

from __future__ import annotations

from typing import NoReturn

from flask import Request

from blueprints.parsing import refuse_value
from runtime.protocol.redaction import REDACTED
from runtime.protocol.requests import MAX_IDEMPOTENCY_KEY_LENGTH

HEADER = "Idempotency-Key"


def parse_idempotency_key(request: Request, in_body: str | None = None) -> str | None:
    """Returns the key that the header or the body gives; None when neither does. Raises InvalidRequest."""
    key = request.headers.get(HEADER)
    if key is None:
        return in_body
    if not key.strip() or len(key) > MAX_IDEMPOTENCY_KEY_LENGTH or not key.isascii():
        _refuse(f"{HEADER} must have 1 to {MAX_IDEMPOTENCY_KEY_LENGTH} ASCII characters, and not only spaces")
    if in_body is not None and in_body != key:
        _refuse(f"{HEADER} and the idempotency_key of the body must be the same when both are given")
    return key


def _refuse(rule: str) -> NoReturn:
    refuse_value(rule, ["header", HEADER], given=REDACTED)
