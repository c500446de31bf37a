"""The references of an output schema: checks them, and replaces each by its target."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from runtime.output.errors import InvalidOutputSchema
from runtime.output.keywords import ignores_siblings_of_references
from runtime.output.time_limit import check_time

LOCAL = "#/$defs/"
MAX_LEVELS = 64
"""The most levels of nested schemas, after the references were replaced."""
MAX_INLINED_CHARS = 1 << 20

_SCHEMAS = frozenset(
    {
        *("additionalItems", "additionalProperties", "allOf", "anyOf", "contains", "contentSchema", "else", "if"),
        *("items", "not", "oneOf", "prefixItems", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
    }
)
"""Keywords whose value is a schema or a list of schemas."""
_DEFINITIONS = frozenset({"$defs", "definitions"})
_MAPS = frozenset({"dependencies", "dependentSchemas", "patternProperties", "properties"}) | _DEFINITIONS
"""Keywords whose value is an object of schemas by name."""
_ANNOTATIONS = frozenset({"default", "deprecated", "description", "examples", "readOnly", "title", "writeOnly"})
_MOVING_REFERENCES = frozenset({"$dynamicRef", "$recursiveRef"})
_IDENTITIES = frozenset({"$id", "id"})


class _Part(NamedTuple):
    """A schema without references, its length in characters and its levels."""

    schema: Any
    chars: int
    levels: int


@dataclass
class Inliner:
    """Replaces the references of one schema, and collects what it finds meanwhile.

    ``patterns`` are the sources of all patterns, and ``keywords`` are all keywords in use.
    """

    root: Mapping[str, Any]
    dialect: str
    check: Callable[[Any], None]
    """Raises InvalidOutputSchema for an invalid schema of the dialect. The root was checked before."""
    patterns: set[str] = field(default_factory=set)
    keywords: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        resource = DRAFT202012.create_resource({key: value for key, value in self.root.items() if key != "$id"})
        self._resolver = Registry().with_resource("", resource).resolver()
        self._done: dict[int, _Part] = {}
        self._open: set[int] = set()

    def inline(self) -> dict[str, Any]:
        """Returns the schema without references, definitions and identity.

        Raises InvalidOutputSchema when a reference is not local, leads nowhere or to itself, or when the schema grows
        too large. Raises OutOfTime when it takes too long.
        """
        left_out = {"$schema", *_IDENTITIES, "$anchor", "$vocabulary"}
        root = self._inline(self.root, 1).schema
        return {key: value for key, value in root.items() if key not in left_out}

    def _inline(self, schema: Any, level: int) -> _Part:
        if not isinstance(schema, dict):
            return _Part(schema, len(json.dumps(schema)), 1)
        check_time()
        done = self._done.get(id(schema))
        if done is None:
            if id(schema) in self._open:
                raise InvalidOutputSchema("the schema is recursive, which is not supported")
            if level > MAX_LEVELS:
                raise _too_deep()
            self._open.add(id(schema))
            done = self._done[id(schema)] = self._inline_object(schema, level)
            self._open.remove(id(schema))
        if level + done.levels - 1 > MAX_LEVELS:
            raise _too_deep()
        return done

    def _inline_object(self, schema: dict[str, Any], level: int) -> _Part:
        self._check_keywords(schema, level)
        target = self._inline(self._find(schema["$ref"]), level + 1) if "$ref" in schema else None
        if target is not None and ignores_siblings_of_references(self.dialect):
            # Up to draft 7, only the annotations beside a reference are worth keeping. Definitions are still checked.
            for name in _DEFINITIONS & schema.keys():
                self._inline_map(schema[name], level)
            schema = {key: value for key, value in schema.items() if key in _ANNOTATIONS}
        result: dict[str, Any] = {}
        chars, levels = 2, 1
        for keyword, value in schema.items():
            if keyword == "$ref":
                continue
            part = self._inline_keyword(keyword, value, level)
            if keyword in _DEFINITIONS:
                continue
            result[keyword] = part.schema
            chars += len(keyword) + part.chars + 6
            levels = max(levels, part.levels + 1)
        if target is not None:
            result = _joined(result, target.schema)
            chars += target.chars + 12
            levels = max(levels, target.levels + 1)
        if chars > MAX_INLINED_CHARS:
            raise InvalidOutputSchema("the schema grows too large when its references are replaced by what they mean")
        return _Part(result, chars, levels)

    def _inline_keyword(self, keyword: str, value: Any, level: int) -> _Part:
        if keyword in _MAPS and isinstance(value, dict):
            return self._inline_map(value, level)
        if keyword in _SCHEMAS and isinstance(value, list):
            parts = [self._inline(part, level + 1) for part in value]
            chars = sum(part.chars + 2 for part in parts)
            return _Part([part.schema for part in parts], chars, max((part.levels for part in parts), default=0))
        if keyword in _SCHEMAS:
            return self._inline(value, level + 1)
        return _Part(value, len(json.dumps(value)), 0)

    def _inline_map(self, schemas: dict[str, Any], level: int) -> _Part:
        parts = {name: self._inline(schema, level + 1) for name, schema in schemas.items()}
        chars = sum(len(name) + part.chars + 6 for name, part in parts.items())
        inlined = {name: part.schema for name, part in parts.items()}
        return _Part(inlined, chars, max((part.levels for part in parts.values()), default=0))

    def _check_keywords(self, schema: dict[str, Any], level: int) -> None:
        self.keywords.update(schema)
        if not _MOVING_REFERENCES.isdisjoint(schema):
            raise _not_local()
        if level > 1 and any(isinstance(schema.get(name), str) for name in _IDENTITIES):
            raise InvalidOutputSchema("only the whole schema may have an id, no part of it")
        if isinstance(pattern := schema.get("pattern"), str):
            self.patterns.add(pattern)
        if isinstance(by_pattern := schema.get("patternProperties"), dict):
            self.patterns.update(by_pattern)

    def _find(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith(LOCAL):
            raise _not_local()
        try:
            target = self._resolver.lookup(reference).contents
        except (Unresolvable, LookupError, ValueError, TypeError, AttributeError):
            raise InvalidOutputSchema("a reference leads nowhere") from None
        # Not every target is at a place where the dialect's metaschema expects a schema.
        stands_apart = ignores_siblings_of_references(self.dialect) or "/" in reference.removeprefix(LOCAL)
        if stands_apart and id(target) not in self._done:
            self.check(target)
        return target


def _joined(siblings: dict[str, Any], target: Any) -> dict[str, Any]:
    """Returns one schema that is equivalent to both together."""
    if not siblings.keys() - _ANNOTATIONS and isinstance(target, dict):
        return {**target, **siblings}
    return {**siblings, "allOf": [*siblings.get("allOf", []), target]}


def _too_deep() -> InvalidOutputSchema:
    return InvalidOutputSchema(f"the schema has more than {MAX_LEVELS} schemas inside each other")


def _not_local() -> InvalidOutputSchema:
    return InvalidOutputSchema(f"a reference must be local, with the form {LOCAL}name")
