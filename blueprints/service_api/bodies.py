"""Bodies of the service API."""

from __future__ import annotations

from typing import TypeVar

from flask import Request
from pydantic import BaseModel

from blueprints.parsing import parse_body, parse_optional_body
from errors import WrongContentType

BodyT = TypeVar("BodyT", bound=BaseModel)


def parse_service_body(request: Request, model: type[BodyT]) -> BodyT:
    """Returns the JSON body as ``model``. Raises WrongContentType and what ``parse_body`` raises."""
    if not request.is_json:
        raise WrongContentType
    return parse_body(request, model)


def parse_optional_service_body(request: Request, model: type[BodyT]) -> BodyT:
    """As ``parse_service_body``, but a missing body counts as an empty object."""
    if request.mimetype and not request.is_json:
        raise WrongContentType
    return parse_optional_body(request, model)
