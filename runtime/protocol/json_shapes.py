"""The part of a JSON value that a strict reader with a given JSON schema can read.

A shape takes a JSON value and returns it without the keys that the schema lacks, at every depth, or it returns
``UNREADABLE``. An optional key whose value is unreadable is left out, and so is an unreadable item of a list. Only the
schemas that Pydantic generates from its types are supported, a small part of JSON Schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

UNREADABLE: Final = object()

Shape = Callable[[Any], Any]
Schema = Mapping[str, Any]

_ANYTHING: Schema = {}
_SCALARS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


class ShapeCompiler:
    """Compiles schemas that share definitions to shapes."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions
        self._referenced = cache(self._make_referenced)

    def shape(self, schema: Schema, *, whole: bool = False) -> Shape:
        """Returns the shape of a schema. With ``whole`` it reads only objects that have all keys of the schema.

        Raises ValueError for an unsupported kind of schema.
        """
        match schema:
            case {"$ref": str(reference)}:
                return self._referenced(_name(reference), whole)
            case {"anyOf": branches} | {"oneOf": branches}:
                return self._union(_flat(branches))
            case {"const": value}:
                return lambda given: given if given == value else UNREADABLE
            case {"enum": values}:
                return lambda given: given if given in values else UNREADABLE
            case {"properties": properties}:
                return self._record(properties, properties if whole else schema.get("required", ()))
            case {"type": "object"}:
                return self._mapping(schema.get("additionalProperties"))
            case {"type": "array"}:
                return self._array(schema.get("items", _ANYTHING))
            case {"type": str(name)}:
                types = _SCALARS[name]
                return lambda given: given if isinstance(given, types) else UNREADABLE
            case _ if not schema:
                return lambda given: given
        raise ValueError(f"not a schema that can be read by: {schema}")

    def _make_referenced(self, name: str, whole: bool) -> Shape:
        made: list[Shape] = []

        def referenced(given: Any) -> Any:
            if not made:  # compiled on the first call, because a definition may contain itself
                made.append(self.shape(self._definitions[name], whole=whole))
            return made[0](given)

        return referenced

    def _record(self, properties: Mapping[str, Schema], required: Any) -> Shape:
        tags = _tags(properties)
        shapes = {key: self.shape(schema) for key, schema in properties.items()}
        needed = [key for key in properties if key in tags or key in required]

        def record(given: Any) -> Any:
            if not isinstance(given, dict):
                return UNREADABLE
            read = {}
            for key, value in given.items():
                if (shape := shapes.get(key)) is not None and (one := shape(value)) is not UNREADABLE:
                    read[key] = one
            for key in needed:
                if key not in read:
                    return UNREADABLE
            return read

        return record

    def _mapping(self, values: Schema | bool | None) -> Shape:
        if not isinstance(values, Mapping):
            return lambda given: given if isinstance(given, dict) else UNREADABLE
        shape = self.shape(values)

        def mapping(given: Any) -> Any:
            if not isinstance(given, dict):
                return UNREADABLE
            read = {key: shape(value) for key, value in given.items()}
            return {key: value for key, value in read.items() if value is not UNREADABLE}

        return mapping

    def _array(self, items: Schema) -> Shape:
        shape = self.shape(items)

        def array(given: Any) -> Any:
            if not isinstance(given, list):
                return UNREADABLE
            return [read for item in given if (read := shape(item)) is not UNREADABLE]

        return array

    def _union(self, branches: list[Schema]) -> Shape:
        """Returns the shape of a union: the first branch that can read a value.

        If any value is allowed, as in a tool's result, a value must not lose keys because it resembles a file: it
        counts as a file only if it has all keys of one. Pydantic AI always writes them all.
        """
        is_free = _ANYTHING in branches
        types = tuple(known for branch in branches for known in _scalar(branch))
        tag, tagged = self._tagged(branches)
        by_tag: dict[Any, list[Shape]] = {}
        for value, branch in tagged:
            by_tag.setdefault(value, []).append(self.shape(branch, whole=is_free))
        known = [branch for _, branch in tagged]
        untagged = [self.shape(one) for one in branches if one and not _scalar(one) and one not in known]

        def union(given: Any) -> Any:
            if isinstance(given, types):
                return given
            kind = given.get(tag) if isinstance(given, dict) else None
            if isinstance(kind, str):
                for shape in by_tag.get(kind, ()):
                    if (read := shape(given)) is not UNREADABLE:
                        return read
            for shape in untagged:
                if (read := shape(given)) is not UNREADABLE:
                    return read
            return given if is_free else UNREADABLE

        return union

    def _tagged(self, branches: list[Schema]) -> tuple[str, list[tuple[Any, Schema]]]:
        """Returns the key that distinguishes the records among the branches, and each record with its value."""
        found = [(tags, branch) for branch in branches if (tags := _tags(self._resolved(branch).get("properties", {})))]
        shared = [key for key in found[0][0] if all(key in tags for tags, _ in found)] if found else []
        return (shared[0], [(tags[shared[0]], branch) for tags, branch in found]) if shared else ("", [])

    def _resolved(self, schema: Schema) -> Schema:
        return self._definitions[_name(schema["$ref"])] if "$ref" in schema else schema


def _name(reference: str) -> str:
    return reference.removeprefix("#/$defs/")


def _tags(properties: Mapping[str, Schema]) -> dict[str, Any]:
    """Returns the keys with exactly one possible value. They distinguish a record from others."""
    return {key: schema["const"] for key, schema in properties.items() if "const" in schema}


def _scalar(schema: Schema) -> tuple[type, ...]:
    return _SCALARS.get(schema["type"], ()) if schema.keys() == {"type"} else ()


def _flat(branches: list[Schema]) -> list[Schema]:
    """Returns the branches of a union, including those of nested unions."""
    flat = []
    for branch in branches:
        inner = branch.get("anyOf") or branch.get("oneOf")
        flat += _flat(inner) if inner else [branch]
    return flat
