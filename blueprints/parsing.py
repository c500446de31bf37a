"""Request bodies and queries, parsed as the contract of the run API has it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from flask import Request
from pydantic import BaseModel, ValidationError
from werkzeug.datastructures import MultiDict

from errors import InvalidRequest
from runtime.protocol.cursors import BEGINNING, parse_cursor

BodyT = TypeVar("BodyT", bound=BaseModel)

HIDDEN = "[REDACTED]"
_SECRET_KEY = re.compile(r"secret|credential|token|password|api_?key|authorization", re.IGNORECASE)
_JSON_TYPE = re.compile(r"application/([\w.-]+\+)?json", re.IGNORECASE)

MAX_SHOWN_DEPTH = 20
"""Of a refused value that is shown back to its sender."""

DEFAULT_PAGE_LIMIT = 100
MAX_PAGE_LIMIT = 500


def parse_body(request: Request, model: type[BodyT]) -> BodyT:
    """The JSON body as ``model``. Raises InvalidRequest with every problem found."""
    body = request.get_data(cache=False)
    if not body:
        _refuse("missing", ["body"], "Field required")
    if request.mimetype and not _JSON_TYPE.fullmatch(request.mimetype):
        _refuse_non_object()
    value = _decode(body)
    if not isinstance(value, dict):
        _refuse_non_object()
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidRequest([_item(problem) for problem in error.errors(include_url=False)]) from None


def parse_optional_body(request: Request, model: type[BodyT]) -> BodyT:
    """As ``parse_body``, but no body at all is an empty object."""
    return parse_body(request, model) if request.get_data() else model()


def parse_page_query(args: MultiDict[str, str]) -> tuple[str, str, int]:
    """The cursor as given, in normal form, and the page limit. Raises InvalidRequest."""
    given = args.get("after") or BEGINNING
    return given, parse_cursor_parameter(given, "after"), _parse_limit(args.get("limit"))


def parse_cursor_parameter(text: str, name: str, *, source: str = "query") -> str:
    """The normal form of a cursor that a caller sent. Raises InvalidRequest."""
    try:
        return parse_cursor(text)
    except ValueError as error:
        _refuse("value_error", [source, name], f"Value error, {error}", given=text)


def _parse_limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_PAGE_LIMIT
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text.strip(), re.ASCII):
        message = "Input should be a valid integer, unable to parse string as an integer"
        _refuse("int_parsing", ["query", "limit"], message, given=text)
    limit = int(text)
    if limit < 1:
        message = "Input should be greater than or equal to 1"
        _refuse("greater_than_equal", ["query", "limit"], message, given=text, ctx={"ge": 1})
    if limit > MAX_PAGE_LIMIT:
        message = f"Input should be less than or equal to {MAX_PAGE_LIMIT}"
        _refuse("less_than_equal", ["query", "limit"], message, given=text, ctx={"le": MAX_PAGE_LIMIT})
    return limit


def _decode(body: bytes) -> object:
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        position, reason = error.pos, error.msg
    except UnicodeDecodeError as error:
        position, reason = error.start, "Body is not UTF-8"
    except RecursionError:
        position, reason = 0, "Nested too deeply"
    except _NotANumber as error:
        position, reason = 0, f"{error} is not JSON"
    except ValueError:
        position, reason = 0, "A number has too many digits"
    _refuse("json_invalid", ["body", position], "JSON decode error", given={}, ctx={"error": reason})


class _NotANumber(Exception):
    """Python's reader takes NaN and Infinity, which are not JSON."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NotANumber(name)


def _refuse_non_object() -> NoReturn:
    message = "Input should be a valid dictionary or object to extract fields from"
    _refuse("model_attributes_type", ["body"], message, given=HIDDEN)


def _refuse(
    kind: str, loc: list[str | int], message: str, *, given: object = None, ctx: Mapping[str, object] | None = None
) -> NoReturn:
    item: dict[str, object] = {"type": kind, "loc": loc, "msg": message, "input": given}
    if ctx is not None:
        item["ctx"] = ctx
    raise InvalidRequest([item])


def _item(problem: Mapping[str, Any]) -> dict[str, object]:
    """One of pydantic's problems as the wire has it, without any credential of the request."""
    loc = ["body", *problem["loc"]]
    item: dict[str, object] = {
        "type": problem["type"],
        "loc": loc,
        "msg": problem["msg"],
        "input": HIDDEN if any(_is_secret(part) for part in loc) else _hide_secrets(problem["input"]),
    }
    if "ctx" in problem:
        item["ctx"] = {key: _plain(value) for key, value in problem["ctx"].items()}
    return item


def _hide_secrets(value: object, depth: int = 0) -> object:
    if depth > MAX_SHOWN_DEPTH:
        return HIDDEN
    if isinstance(value, dict):
        return {key: HIDDEN if _is_secret(key) else _hide_secrets(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list):
        return [_hide_secrets(part, depth + 1) for part in value]
    return value


def _is_secret(key: object) -> bool:
    return isinstance(key, str) and (_SECRET_KEY.search(key) is not None or key == "config")


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)
