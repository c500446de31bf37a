"""Canonical JSON (RFC 8785) and the digest over it: equal documents have equal digests, however they are written."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping

DIGEST_PREFIX = "sha256:"


class NotCanonical(ValueError):
    """The value has no canonical JSON; the text says why and repeats nothing of it."""


def digest_of(document: object) -> str:
    """``sha256:`` and 64 hex digits. It detects accidents; it says nothing of who wrote the document.

    Raises NotCanonical.
    """
    return DIGEST_PREFIX + hashlib.sha256(canonical_json(document)).hexdigest()


def canonical_json(value: object) -> bytes:
    """The one UTF-8 form of a JSON value. Raises NotCanonical."""
    try:
        return "".join(_write(value)).encode()
    except UnicodeEncodeError:
        raise NotCanonical("half of a surrogate pair is no character") from None
    except RecursionError:
        raise NotCanonical("nested too deeply") from None


def _write(value: object) -> Iterator[str]:
    match value:
        case None:
            yield "null"
        case bool():
            yield "true" if value else "false"
        case str():
            yield _text(value)
        case int() | float():
            yield _number(value)
        case Mapping():
            yield from _write_object(value)
        case list() | tuple():
            yield "["
            for index, part in enumerate(value):
                yield "," if index else ""
                yield from _write(part)
            yield "]"
        case _:
            raise NotCanonical(f"{type(value).__name__} is no JSON")


def _write_object(value: Mapping[object, object]) -> Iterator[str]:
    keys = [key for key in value if isinstance(key, str)]
    if len(keys) != len(value):
        raise NotCanonical("a key is no text")
    yield "{"
    for index, key in enumerate(sorted(keys, key=_utf16_units)):
        yield "," if index else ""
        yield _text(key)
        yield ":"
        yield from _write(value[key])
    yield "}"


def _utf16_units(key: str) -> bytes:
    return key.encode("utf-16-be")


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # escapes just what the RFC does, and in the same way


def _number(value: float) -> str:
    """As ECMAScript writes it, to which every number is a double.

    A whole number that is none becomes the nearest one; the doors to the roster refuse those.
    """
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise NotCanonical("a number is too large, or none")
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = repr(abs(number)).partition("e")  # the shortest digits that read back, as in ECMAScript
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    return sign + _place_point(digits, point)


def _place_point(digits: str, point: int) -> str:
    """``digits`` with the decimal point before the one at index ``point``, which may lie outside of them."""
    if len(digits) <= point <= 21:
        return digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    power = f"e{point - 1:+d}"
    return f"{digits[0]}.{digits[1:]}{power}" if len(digits) > 1 else digits + power
