"""Gets from what a model wrote to the JSON that it meant."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import json_repair

from runtime.output.policy import Repair
from runtime.output.strict import MAX_DEPTH, NotJson, read_strictly, write_json

logger = logging.getLogger(__name__)

BYTE_ORDER_MARK = "byte_order_mark"
FENCED_BLOCK = "fenced_block"
SURROUNDING_TEXT = "surrounding_text"
TRAILING_COMMAS = "trailing_commas"
FIRST_OF_SEVERAL = "first_of_several"
JSON_REPAIR = "json_repair"

_BOM = "\ufeff"
_WHITE_SPACE = " \t\r\n"
# No line inside JSON can look like this, because a JSON string never contains a line break.
_FENCE = re.compile(r"^[ \t]*+```[ \t]*+[\w+-]*+[ \t]*+\r?$", re.MULTILINE)
_SOME_TEXT = re.compile(rf"[^{_WHITE_SPACE}]")
_BRACKET = re.compile(r"[\[\]{}]")
# A string is one token, with or without its end, so that every text is scanned only once.
_STRING = r'"(?:[^"\\]++|\\.)*+"?'
_TOKEN = re.compile(rf"{_STRING}|[\[\]{{}}]", re.DOTALL)
# The group matches what is kept: strings, and a comma with no value before it. The rest is a comma with none after it.
_TRAILING_COMMA = re.compile(rf"({_STRING}|[\[{{,:][{_WHITE_SPACE}]*+,)|,(?=[{_WHITE_SPACE}]*+[\]}}])", re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}
# What precedes or follows a value that is part of something larger.
_KEY_BEFORE = re.compile(r'":\s*\Z')
_KEY_BEHIND = re.compile(r'\s*,\s*"')


@dataclass(frozen=True, slots=True)
class AppliedRepair:
    """The kind of a repair, and where it was first needed: an offset in characters in the original text."""

    kind: str
    offset: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The JSON of an answer, its value, and the repairs that were needed.

    ``start`` is where in the answer the JSON begins. ``left_out`` are the positions, counted from there and in order,
    of the characters that were removed.
    """

    text: str
    value: Any
    repairs: list[AppliedRepair]
    start: int = 0
    left_out: Sequence[int] = ()

    def offset_of(self, position: int) -> int:
        """Returns where in the answer a character of the JSON is; for guessed JSON, where guessing was first needed."""
        for made in self.repairs:
            if made.kind == JSON_REPAIR:
                return made.offset
        for left_out in self.left_out:
            if left_out > position:
                break
            position += 1
        return self.start + position


@dataclass(frozen=True, slots=True)
class _Core:
    """The part of a text in which the value is sought. It begins at ``offset``."""

    text: str
    offset: int
    repairs: list[AppliedRepair]

    def repaired(self, kind: str, position: int) -> AppliedRepair:
        """Returns a repair at a position in this part."""
        return AppliedRepair(kind, self.offset + position)


def read_output(text: str, repair: Repair, *, only_objects: bool = True) -> Reading:
    """Returns the value of a text.

    With ``only_objects``, only objects are sought or guessed in a text that is not JSON. Raises NotJson with the reason
    why the text is not JSON, and the reason why it could not be repaired.
    """
    try:
        return Reading(text, read_strictly(text), [])
    except NotJson as error:
        if repair is Repair.NONE:
            raise
        reason = str(error)
    try:
        return _repaired(text, repair, only_objects)
    except NotJson as error:
        raise NotJson(reason if str(error) == reason else f"{reason}; {error}") from None


def _repaired(text: str, repair: Repair, only_objects: bool) -> Reading:
    core = _core(text)
    if core.repairs and not only_objects:
        with suppress(NotJson):
            return Reading(core.text, read_strictly(core.text), core.repairs, core.offset)
    try:
        return _read_sole_value(core)
    except NotJson:
        if repair is Repair.SAFE:
            raise
    return _read_first_value(core, only_objects) or _read_guessing(core, only_objects)


def _core(text: str) -> _Core:
    """Returns the text without a byte order mark and, if it has exactly one fenced block, only the content of that."""
    repairs, offset = [], 0
    if text.startswith(_BOM):
        repairs.append(AppliedRepair(BYTE_ORDER_MARK, 0))
        text, offset = text.removeprefix(_BOM), len(_BOM)
    fences = list(islice(_FENCE.finditer(text), 3))
    if len(fences) == 2:
        opening, closing = fences
        repairs.append(AppliedRepair(FENCED_BLOCK, offset + opening.start()))
        text, offset = text[opening.end() : closing.start()], offset + opening.end()
    return _Core(text, offset, repairs)


def _read_sole_value(core: _Core) -> Reading:
    """Reads the only object or list in the text, if it is complete and nothing else in the text could be meant."""
    spans = list(islice(_spans(core.text), 2))
    if len(spans) != 1:
        raise NotJson("it holds several JSON values" if spans else "it holds no object")
    start, end = spans[0]
    if _KEY_BEFORE.search(core.text, max(0, start - 100), start) or _KEY_BEHIND.match(core.text, end):
        raise NotJson("its JSON is a part of something larger")
    return _read_span(core, start, end)


def _read_first_value(core: _Core, only_objects: bool) -> Reading | None:
    """Returns the first complete value of several, or None when there are not several or something is incomplete."""
    try:
        spans = list(_spans(core.text))
    except NotJson:
        return None
    if len(spans) < 2:
        return None
    for start, end in spans:
        with suppress(NotJson):
            reading = _read_span(core, start, end)
            if isinstance(reading.value, dict) or not only_objects:
                return replace(reading, repairs=[*reading.repairs, core.repaired(FIRST_OF_SEVERAL, start)])
    return None


def _read_guessing(core: _Core, only_objects: bool) -> Reading:
    _check_nesting(core.text)
    try:
        value = json_repair.loads(core.text, skip_json_loads=True)
    except Exception as error:
        # It is meant for arbitrary text: if it fails on a text, it cannot repair that text.
        logger.warning("json_repair failed with %s", type(error).__name__)
        raise NotJson("it could not be repaired") from None
    if not isinstance(value, dict if only_objects else dict | list):
        raise NotJson("it could not be repaired into an object")
    repaired = write_json(value)
    guess = core.repaired(JSON_REPAIR, _position_of_fault(core.text))
    return Reading(repaired, read_strictly(repaired), [*core.repairs, guess])


def _position_of_fault(text: str) -> int:
    """Returns where a text stops being JSON, or its beginning if the fault has no single position."""
    try:
        read_strictly(text)
    except NotJson as error:
        return error.position or 0
    return 0


def _check_nesting(text: str) -> None:
    """Raises NotJson for a text that is nested too deeply; json_repair would take minutes for it."""
    level = 0
    for token in _TOKEN.finditer(text):
        found = token.group()
        level += (found in ("{", "[")) - (found in ("}", "]"))
        if level > MAX_DEPTH:
            raise NotJson(f"nested deeper than {MAX_DEPTH} levels")


def _read_span(core: _Core, start: int, end: int) -> Reading:
    span = core.text[start:end]
    done = [*core.repairs]
    around = _first_word(core.text, 0, start) or _first_word(core.text, end, len(core.text))
    if around is not None:
        done.append(core.repaired(SURROUNDING_TEXT, around.start()))
    commas = [match.start() for match in _TRAILING_COMMA.finditer(span) if match.group(1) is None]
    if not commas:
        return Reading(span, read_strictly(span), done, core.offset + start)
    done.append(core.repaired(TRAILING_COMMAS, start + commas[0]))
    without_commas = _TRAILING_COMMA.sub(lambda match: match.group(1) or "", span)
    return Reading(without_commas, read_strictly(without_commas), done, core.offset + start, commas)


def _first_word(text: str, start: int, end: int) -> re.Match[str] | None:
    """Returns the first character in a part of the text that is not JSON's white space."""
    return _SOME_TEXT.search(text, start, end)


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Yields the spans of bracketed values. Raises NotJson when brackets do not match."""
    position = 0
    while (bracket := _BRACKET.search(text, position)) is not None:
        position = _end_of_span(text, bracket.start())
        yield bracket.start(), position


def _end_of_span(text: str, start: int) -> int:
    open_brackets: list[str] = []
    for token in _TOKEN.finditer(text, start):
        found = token.group()
        if found in _CLOSING:
            open_brackets.append(_CLOSING[found])
        elif found in ("]", "}"):
            if not open_brackets or open_brackets.pop() != found:
                break
            if not open_brackets:
                return token.end()
    raise NotJson("its brackets do not fit together")
