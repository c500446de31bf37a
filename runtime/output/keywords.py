"""Validators for the JSON Schema dialects. Each of their steps is short, and they stop in time.

They are jsonschema's, with those keywords replaced of which a single step could take for ever or fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from jsonschema import Draft4Validator, Draft6Validator, Draft7Validator, Draft201909Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from runtime.output.patterns import Pattern, compile_pattern
from runtime.output.time_limit import check_time

Errors = Iterator[ValidationError]
Keyword = Callable[[Any, Any, Any, Any], Any]

DEFAULT_DIALECT = "json-schema.org/draft/2020-12/schema"
_BASES: Mapping[str, Any] = {
    "json-schema.org/draft-04/schema": Draft4Validator,
    "json-schema.org/draft-06/schema": Draft6Validator,
    "json-schema.org/draft-07/schema": Draft7Validator,
    "json-schema.org/draft/2019-09/schema": Draft201909Validator,
    DEFAULT_DIALECT: Draft202012Validator,
}
_SHOWN_PROPERTIES = 5


def dialect_named(uri: object) -> str | None:
    """Returns the dialect that a ``$schema`` names; None if it is unknown."""
    name = uri.removesuffix("#").removeprefix("http://").removeprefix("https://") if isinstance(uri, str) else None
    return name if name in _BASES else None


@lru_cache
def validator_type(dialect: str) -> Any:
    """Returns the validator class of a dialect."""
    base = _BASES[dialect]
    keywords: dict[str, Keyword] = {**base.VALIDATORS, **_OURS}
    build: Any = extend  # it is untyped
    validator = build(base, {name: _timed(keyword) for name, keyword in keywords.items() if name in base.VALIDATORS})
    validator.evolve = _evolve_within(validator.evolve)
    return validator


def ignores_siblings_of_references(dialect: str) -> bool:
    """Returns whether keywords beside a ``$ref`` have no meaning. Such dialects also have no ``$defs``."""
    return "/draft-" in dialect


def _evolve_within(evolve: Callable[..., Any]) -> Callable[..., Any]:
    """Times each step into a part of the schema, and keeps our class where ``$schema`` names another dialect."""

    def evolve_within(validator: Any, **changes: Any) -> Any:
        check_time()
        schema = changes.get("schema")
        if isinstance(schema, dict) and "$schema" in schema:
            changes["schema"] = {key: value for key, value in schema.items() if key != "$schema"}
        return evolve(validator, **changes)

    return evolve_within


def _timed(keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        check_time()
        return keyword(validator, value, instance, schema)

    return check


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Errors:
    if isinstance(instance, str) and not compile_pattern(pattern).found_in(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any) -> Errors:
    if not isinstance(instance, dict):
        return
    for source, subschema in patterns.items():
        pattern = compile_pattern(source)
        for key, value in instance.items():
            check_time()
            if pattern.found_in(key):
                yield from validator.descend(value, subschema, path=key, schema_path=source)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Errors:
    if not isinstance(instance, dict):
        return
    patterns = [compile_pattern(source) for source in schema.get("patternProperties", ())]
    extras = [key for key in instance if key not in schema.get("properties", ())]
    if patterns:
        extras = [key for key in extras if not _is_found_by_any(patterns, key)]
    if isinstance(allowed, dict):
        for key in extras:
            yield from validator.descend(instance[key], allowed, path=key)
    elif not allowed and extras:
        shown = ", ".join(map(repr, extras[:_SHOWN_PROPERTIES]))
        more = len(extras) - _SHOWN_PROPERTIES
        yield ValidationError(f"unexpected properties: {shown}" + (f" and {more} more" if more > 0 else ""))


def _is_found_by_any(patterns: list[Pattern], key: str) -> bool:
    check_time()
    return any(pattern.found_in(key) for pattern in patterns)


def _unique_items(validator: Any, wanted: bool, instance: Any, schema: Any) -> Errors:
    if not wanted or not isinstance(instance, list):
        return
    first: dict[Any, int] = {}
    for index, item in enumerate(instance):
        if index % 100 == 0:
            check_time()
        earlier = first.setdefault(_identity(item), index)
        if earlier != index:
            yield ValidationError(f"items {earlier} and {index} are the same")
            return


def _identity(value: Any) -> Any:
    """Returns equal results for values that JSON Schema considers equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return "object", frozenset((key, _identity(part)) for key, part in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_identity, value))
    return ("boolean", value) if isinstance(value, bool) else value


def _multiple_of(validator: Any, divisor: Any, instance: Any, schema: Any) -> Errors:
    if isinstance(instance, bool) or not isinstance(instance, int | float):
        return
    if isinstance(divisor, int) and isinstance(instance, int):
        failed = instance % divisor != 0
    else:
        failed = _is_no_multiple(instance, divisor)
    if failed:
        yield ValidationError(f"{instance!r} is not a multiple of {divisor!r}")


def _is_no_multiple(number: int | float, divisor: int | float) -> bool:
    """Divides as floats, as people expect of decimals, and exactly where the result is too large for a float."""
    try:
        quotient = number / divisor
        return int(quotient) != quotient
    except OverflowError:
        return (_exactly(number) / _exactly(divisor)).denominator != 1


def _exactly(number: int | float) -> Fraction:
    """Returns the number as it was written: 0.1 is exactly a tenth here."""
    return Fraction(repr(number)) if isinstance(number, float) else Fraction(number)


_OURS: Mapping[str, Keyword] = {
    "additionalProperties": _additional_properties,
    "multipleOf": _multiple_of,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "uniqueItems": _unique_items,
}
