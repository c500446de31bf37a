"""Canonical JSON (RFC 8785) and its digest: equal documents have equal digests, however they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785

DIGEST_PREFIX = "sha256:"
LARGEST_EXACT = 2**53 - 1
"""The largest whole number up to which each has a double of its own."""


class NotCanonical(ValueError):
    """The value has no canonical JSON. The message says why and repeats nothing of it."""


def digest_of(document: object) -> str:
    """Returns ``sha256:`` and 64 hex digits. The digest detects accidents; it does not say who wrote the document.

    Raises NotCanonical.
    """
    return DIGEST_PREFIX + hashlib.sha256(canonical_json(document)).hexdigest()


def canonical_json(value: object) -> bytes:
    """Returns the one UTF-8 form of a JSON value. Raises NotCanonical."""
    try:
        return rfc8785.dumps(_with_doubles(value))
    except (rfc8785.IntegerDomainError, rfc8785.FloatDomainError, OverflowError):
        raise NotCanonical("a number is too large, or none") from None
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        raise NotCanonical("a key is no text, a text is none, or a value is no JSON") from None
    except RecursionError:
        raise NotCanonical("nested too deeply") from None


def _with_doubles(value: Any) -> Any:
    """Returns the value with doubles in place of the whole numbers that are too large for doubles to tell apart.

    To ECMAScript every number is a double, and PostgreSQL returns a double like 1e20 as a whole number. A number that
    is no double becomes the nearest one; the checks at the entrance to the roster refuse those.
    """
    match value:
        case bool():
            return value
        case int():
            return value if abs(value) <= LARGEST_EXACT else float(value)
        case Mapping():
            return {key: _with_doubles(part) for key, part in value.items()}
        case list() | tuple():
            return [_with_doubles(part) for part in value]
    return value
