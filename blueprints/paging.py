"""Paging of lists: ``?page=&limit=``, or ``?after=&limit=``."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

from flask import Request
from pydantic import BaseModel, Field, StringConstraints, ValidationError
from werkzeug.datastructures import MultiDict

from blueprints.parsing import refuse, refuse_value
from errors import InvalidRequest
from runtime.protocol.cursors import BEGINNING, parse_cursor

QueryT = TypeVar("QueryT", bound=BaseModel)

MAX_PAGE = 1_000_000
MAX_SHOWN_CHARS = 100

DEFAULT_EVENTS = 100
MAX_EVENTS = 500
"""The most events on a page of a run's events."""

GivenId = Annotated[str, StringConstraints(max_length=36, pattern=r"^[^\x00]*$")]
"""An id in a query; no database accepts a NUL."""


class PageQuery(BaseModel):
    """Which page of a list, counted from 1, and the length of a page."""

    page: int = Field(default=1, ge=1, le=MAX_PAGE)
    limit: int = Field(default=20, ge=1, le=100)


class CursorQuery(BaseModel):
    """How many entries of a list, and the id after which they begin."""

    after: GivenId | None = None
    limit: int = Field(default=20, ge=1, le=100)


def parse_page(request: Request) -> PageQuery:
    """Returns the page that the query asks for. Other parameters are ignored. Raises InvalidRequest."""
    return parse_query(request, PageQuery)


def parse_query(request: Request, model: type[QueryT]) -> QueryT:
    """Returns the parameters of the query that ``model`` has. Others are ignored. Raises InvalidRequest."""
    given = {name: request.args[name] for name in model.model_fields if name in request.args}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        raise InvalidRequest(
            [{**problem, "loc": ["query", *problem["loc"]], "input": _shown(problem["input"])} for problem in problems]
        ) from None


def parse_event_page(args: MultiDict[str, str]) -> tuple[str, str, int]:
    """Returns the cursor of a page of events as given and in normal form, and its limit. Raises InvalidRequest."""
    given = args.get("after") or BEGINNING
    return given, parse_cursor_parameter(given, "after"), _parse_limit(args.get("limit"))


def parse_cursor_parameter(text: str, name: str, *, source: str = "query") -> str:
    """Returns the normal form of a cursor that a caller sent. Raises InvalidRequest."""
    try:
        return parse_cursor(text)
    except ValueError as error:
        refuse_value(str(error), [source, name], given=text)


def _parse_limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_EVENTS
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text.strip(), re.ASCII):
        message = "Input should be a valid integer, unable to parse string as an integer"
        refuse("int_parsing", ["query", "limit"], message, given=text)
    limit = int(text)
    if limit < 1:
        message = "Input should be greater than or equal to 1"
        refuse("greater_than_equal", ["query", "limit"], message, given=text, ctx={"ge": 1})
    if limit > MAX_EVENTS:
        message = f"Input should be less than or equal to {MAX_EVENTS}"
        refuse("less_than_equal", ["query", "limit"], message, given=text, ctx={"le": MAX_EVENTS})
    return limit


def _shown(value: object) -> str | None:
    """Returns the start of a refused text. None for others: for a missing parameter, pydantic shows all the others."""
    return value[:MAX_SHOWN_CHARS] if isinstance(value, str) else None
