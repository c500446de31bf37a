"""Unwraps objects and lists that a model wrote as strings of their JSON."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import count, groupby, islice
from json import JSONDecoder
from typing import Any, NamedTuple

from jsonschema.exceptions import ValidationError

from runtime.output.repair import AppliedRepair, Reading
from runtime.output.strict import MAX_DEPTH, NotJson, check_size, is_deeper, read_strictly, write_json
from runtime.output.time_limit import check_time
from runtime.output.validation import Validation

JSON_IN_STRING = "json_in_string"

MAX_PLACES = 100
"""An answer with more such strings, or with more errors, is left as it is."""

Place = tuple[str | int, ...]
Wanted = dict[Place, set[type]]
"""Where a string stands that is not allowed, and what is allowed there: objects, lists or both."""

_CONTAINERS: dict[str, type] = {"object": dict, "array": list}
_OF_STRINGS = frozenset({"const", "enum", "maxLength", "minLength", "pattern"})
"""Keywords that one string may fail and another may satisfy."""
_WHITE_SPACE = " \t\r\n"
_DECODER = JSONDecoder()


class _Remedy(NamedTuple):
    """What unwrapping can do about some errors.

    ``wanted`` are the strings to unwrap. ``allowed`` are places where some other string is allowed: the string there is
    not unwrapped. ``suffices`` says whether nothing else is needed.
    """

    wanted: Wanted
    allowed: set[Place]
    suffices: bool


def unwrap(validation: Validation, reading: Reading) -> Reading | None:
    """Returns the reading with such strings replaced by their values if that makes it valid; otherwise None.

    A string is replaced where the schema allows no string but an object or a list, if its whole text is one. The
    replaced value is not searched again, unless the string was the whole answer. May raise OutOfTime.
    """
    value = reading.value
    unwrapped: list[Place] = []
    for _ in range(2 if isinstance(value, str) else 1):
        inner = _inner_values(validation, value)
        unwrapped += sorted(inner, key=lambda place: _order(value, place))
        for place in inner:
            value = _replaced(value, place, inner[place])
    if not unwrapped or is_deeper(value, MAX_DEPTH) or validation.problems(value):
        return None
    try:
        text = write_json(value)
        check_size(text)
    except NotJson:
        return None
    offset = reading.offset_of(_position(reading.text, unwrapped[0]))
    return Reading(text, value, [*reading.repairs, AppliedRepair(JSON_IN_STRING, offset)])


def _inner_values(validation: Validation, value: Any) -> dict[Place, Any]:
    """Returns the values of the strings that are not allowed, by their places."""
    errors = list(islice(validation.errors(value), MAX_PLACES + 1))
    if len(errors) > MAX_PLACES:
        return {}
    remedy = _remedy(errors)
    inner: dict[Place, Any] = {}
    for place in remedy.wanted.keys() - remedy.allowed:
        check_time()
        string = _at(value, place)
        if isinstance(string, str) and string.lstrip(_WHITE_SPACE)[:1] in ("{", "["):
            with suppress(NotJson):
                held = read_strictly(string)
                if type(held) in remedy.wanted[place]:
                    inner[place] = held
    return inner


def _remedy(errors: Iterable[ValidationError]) -> _Remedy:
    wanted: Wanted = {}
    allowed: set[Place] = set()
    suffices = True
    for error in errors:
        one = _remedy_of_one(error)
        for place, types in one.wanted.items():
            wanted[place] = wanted.get(place, set()) | types
        allowed |= one.allowed
        suffices = suffices and one.suffices
    return _Remedy(wanted, allowed, suffices)


def _remedy_of_one(error: ValidationError) -> _Remedy:
    if error.context:
        return _remedy_of_alternatives(error.context)
    place: Place = tuple(error.absolute_path)
    if isinstance(error.instance, str) and error.validator == "type":
        names: Any = error.validator_value
        types = {_CONTAINERS[name] for name in ([names] if isinstance(names, str) else names) if name in _CONTAINERS}
        return _Remedy({place: types} if types else {}, set(), bool(types))
    is_allowed = isinstance(error.instance, str) and error.validator in _OF_STRINGS
    return _Remedy({}, {place} if is_allowed else set(), suffices=False)


def _remedy_of_alternatives(errors: list[ValidationError]) -> _Remedy:
    """Returns what remedies each of those alternatives that can be remedied."""
    check_time()
    branches = [_remedy(branch) for _, branch in groupby(errors, key=lambda error: error.relative_schema_path[0])]
    allowed = set[Place]().union(*(branch.allowed for branch in branches))
    wanted = [branch.wanted for branch in branches if branch.suffices]
    places = set(wanted[0]).intersection(*wanted) if wanted else set()
    common = {place: set[type]().union(*(one[place] for one in wanted)) for place in places}
    return _Remedy(common, allowed, bool(common))


def _at(value: Any, place: Place) -> Any:
    for step in place:
        value = value[step]
    return value


def _replaced(value: Any, place: Place, part: Any) -> Any:
    """Returns a copy of the value with another part at the place."""
    if not place:
        return part
    copy = value.copy()
    copy[place[0]] = _replaced(value[place[0]], place[1:], part)
    return copy


def _order(value: Any, place: Place) -> list[int]:
    """Returns a key that sorts places by their order in the text."""
    order: list[int] = []
    for step in place:
        order.append(step if isinstance(step, int) else list(value).index(step))
        value = value[step]
    return order


def _position(text: str, place: Place) -> int:
    """Returns where in a JSON text the value at a place begins."""
    position = _behind_space(text, 0)
    for step in place:
        position = _position_inside(text, position, step)
    return position


def _position_inside(text: str, position: int, step: str | int) -> int:
    """Returns the same for a key or an index of the object or list at ``position``."""
    has_keys = text[position] == "{"
    for index in count():
        position = _behind_space(text, position + 1)
        name = index
        if has_keys:
            name, position = _DECODER.raw_decode(text, position)
            position = _behind_space(text, _behind_space(text, position) + 1)
        if name == step:
            break
        _, position = _DECODER.raw_decode(text, position)
        position = _behind_space(text, position)
    return position


def _behind_space(text: str, position: int) -> int:
    while text[position] in _WHITE_SPACE:
        position += 1
    return position
