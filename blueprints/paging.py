"""Pages of lists: ``?page=&limit=``."""

from __future__ import annotations

from typing import TypeVar

from flask import Request
from pydantic import BaseModel, Field, ValidationError

from errors import InvalidRequest

QueryT = TypeVar("QueryT", bound=BaseModel)

MAX_PAGE = 1_000_000
MAX_SHOWN_CHARS = 100


class PageQuery(BaseModel):
    """Which page of a list, from 1, and how long pages are."""

    page: int = Field(default=1, ge=1, le=MAX_PAGE)
    limit: int = Field(default=20, ge=1, le=100)


def parse_page(request: Request) -> PageQuery:
    """The page that the query asks for. Other parameters are left alone. Raises InvalidRequest."""
    return parse_query(request, PageQuery)


def parse_query(request: Request, model: type[QueryT]) -> QueryT:
    """The parameters of the query that ``model`` has. Others are left alone. Raises InvalidRequest."""
    given = {name: request.args[name] for name in model.model_fields if name in request.args}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        raise InvalidRequest(
            [{**problem, "loc": ["query", *problem["loc"]], "input": _shown(problem["input"])} for problem in problems]
        ) from None


def _shown(value: object) -> str | None:
    """What was given for a parameter, shortened; of one that is missing pydantic tells all others."""
    return value[:MAX_SHOWN_CHARS] if isinstance(value, str) else None
