"""From what a model wrote to the JSON it meant."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
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
# A line of JSON cannot be one of these, for no text in it goes over lines.
_FENCE = re.compile(r"^[ \t]*+```[ \t]*+[\w+-]*+[ \t]*+\r?$", re.MULTILINE)
_BRACKET = re.compile(r"[\[\]{}]")
# A string counts as a whole, with or without its end: so every text is gone through once.
_STRING = r'"(?:[^"\\]++|\\.)*+"?'
_TOKEN = re.compile(rf"{_STRING}|[\[\]{{}}]", re.DOTALL)
# Kept: strings, and a comma with nothing before it. The other alternative is a comma with nothing behind it.
_TRAILING_COMMA = re.compile(rf"({_STRING}|[\[{{,:][{_WHITE_SPACE}]*+,)|,(?=[{_WHITE_SPACE}]*+[\]}}])", re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}
# What stands beside a value that is a part of something larger.
_KEY_BEFORE = re.compile(r'":\s*\Z')
_KEY_BEHIND = re.compile(r'\s*,\s*"')


@dataclass(frozen=True, slots=True)
class Reading:
    """The JSON of an answer, the value it is, and what had to be repaired to get there."""

    text: str
    value: Any
    repairs: list[str]


def read_output(text: str, repair: Repair) -> Reading:
    """The value of a text.

    Raises NotJson, with the reason why the text itself is not JSON and the one why it could not be repaired.
    """
    try:
        return Reading(text, read_strictly(text), [])
    except NotJson as error:
        if repair is Repair.NONE:
            raise
        reason = str(error)
    try:
        return _repaired(text, repair)
    except NotJson as error:
        raise NotJson(reason if str(error) == reason else f"{reason}; {error}") from None


def _repaired(text: str, repair: Repair) -> Reading:
    core, repairs = _core(text)
    try:
        return _read_sole_value(core, repairs)
    except NotJson:
        if repair is Repair.SAFE:
            raise
    return _read_first_value(core, repairs) or _read_guessing(core, repairs)


def _core(text: str) -> tuple[str, list[str]]:
    """The text without a byte order mark and, when there is just one fenced block, without what is around that."""
    repairs = []
    if text.startswith(_BOM):
        text = text.removeprefix(_BOM)
        repairs.append(BYTE_ORDER_MARK)
    fences = list(islice(_FENCE.finditer(text), 3))
    if len(fences) == 2:
        text = text[fences[0].end() : fences[1].start()]
        repairs.append(FENCED_BLOCK)
    return text, repairs


def _read_sole_value(text: str, repairs: list[str]) -> Reading:
    """The one object or list in the text, when nothing else there could be meant and nothing of it is missing."""
    spans = list(islice(_spans(text), 2))
    if len(spans) != 1:
        raise NotJson("it holds several JSON values" if spans else "it holds no object")
    start, end = spans[0]
    if _KEY_BEFORE.search(text, max(0, start - 100), start) or _KEY_BEHIND.match(text, end):
        raise NotJson("its JSON is a part of something larger")
    return _read_span(text, start, end, repairs)


def _read_first_value(text: str, repairs: list[str]) -> Reading | None:
    """The first complete object beside other values, or None when there is none or something is incomplete."""
    try:
        spans = list(_spans(text))
    except NotJson:
        return None
    if len(spans) < 2:
        return None
    for start, end in spans:
        with suppress(NotJson):
            reading = _read_span(text, start, end, repairs)
            if isinstance(reading.value, dict):
                return replace(reading, repairs=[*reading.repairs, FIRST_OF_SEVERAL])
    return None


def _read_guessing(text: str, repairs: list[str]) -> Reading:
    _check_nesting(text)
    try:
        value = json_repair.loads(text, skip_json_loads=True)
    except Exception as error:
        # It is made for any text whatever; one that it fails on is one that it cannot repair.
        logger.warning("json_repair failed with %s", type(error).__name__)
        raise NotJson("it could not be repaired") from None
    if not isinstance(value, dict):
        raise NotJson("it could not be repaired into an object")
    repaired = write_json(value)
    return Reading(repaired, read_strictly(repaired), [*repairs, JSON_REPAIR])


def _check_nesting(text: str) -> None:
    """Raise NotJson for what would be too deep in the end, and takes json_repair minutes on the way there."""
    level = 0
    for token in _TOKEN.finditer(text):
        found = token.group()
        level += (found in ("{", "[")) - (found in ("}", "]"))
        if level > MAX_DEPTH:
            raise NotJson(f"nested deeper than {MAX_DEPTH} levels")


def _read_span(text: str, start: int, end: int, repairs: list[str]) -> Reading:
    span = text[start:end]
    done = [*repairs]
    if text[:start].strip(_WHITE_SPACE) or text[end:].strip(_WHITE_SPACE):
        done.append(SURROUNDING_TEXT)
    without_commas = _TRAILING_COMMA.sub(lambda match: match.group(1) or "", span)
    if without_commas != span:
        done.append(TRAILING_COMMAS)
    return Reading(without_commas, read_strictly(without_commas), done)


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where brackets open and close again. Raises NotJson when some do not fit together."""
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
