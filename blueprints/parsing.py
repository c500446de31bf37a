"""Request bodies: read, parsed, and refused in the way that Dify's clients expect."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import gevent
from flask import Request
from gunicorn.http.errors import ParseException
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from werkzeug.exceptions import BadRequest

from errors import InvalidRequest, RequestTimedOut, RequestTooLarge, ValueTooLarge
from runtime.protocol.json_text import InvalidJson, TooManyValues, ValueBudget, read_json
from runtime.protocol.redaction import REDACTED
from runtime.protocol.requests import JSON_BUDGET

BodyT = TypeVar("BodyT", bound=BaseModel)

_SECRET = re.compile(
    r"secret|credential|token|passw|pwd|(api|access|private)[ _-]?key|authorization|bearer|cookie|config", re.IGNORECASE
)
_JSON_TYPE = re.compile(r"application/([\w.-]+\+)?json", re.IGNORECASE)

MAX_SHOWN_DEPTH = 20
MAX_SHOWN_ITEMS = 50
MAX_SHOWN_CHARS = 1000
"""The most characters of a refused value that are shown to its sender."""

MAX_PROBLEMS_TOLD = 100

MAX_METADATA_BYTES = 65_536

_LIMITS = "greenrun.body_limits"


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The limits of a request body."""

    bytes: int
    values: int
    seconds: float
    """The time from the moment the body is asked for until all of it has arrived."""
    input_bytes: int
    """The size of the JSON of ``inputs``, which are kept with a session and all of its turns."""

    @property
    def kept_objects(self) -> Mapping[str, int]:
        """The objects of a body that are kept, each with the most bytes that its JSON may have."""
        return {"inputs": self.input_bytes, "metadata": MAX_METADATA_BYTES}


def limit_body(request: Request, limits: BodyLimits) -> None:
    """Sets the limits for the body that is parsed later."""
    request.max_content_length = limits.bytes
    request.environ[_LIMITS] = limits


def parse_body(request: Request, model: type[BodyT]) -> BodyT:
    """Returns the JSON body as ``model``.

    Raises InvalidRequest with every problem found, unless there are very many, RequestTooLarge and RequestTimedOut.
    """
    return _parse(_read(request), request, model)


def parse_optional_body(request: Request, model: type[BodyT]) -> BodyT:
    """As ``parse_body``, but a missing body counts as an empty object."""
    body = _read(request)
    return _parse(body, request, model) if body else model()


def read_body(request: Request) -> bytes:
    """Returns the unparsed body. Raises RequestTooLarge and RequestTimedOut."""
    return _read(request)


def refuse(
    kind: str, loc: list[str | int], message: str, *, given: object = None, ctx: Mapping[str, object] | None = None
) -> NoReturn:
    """Raises InvalidRequest with one problem of the request, in pydantic's form."""
    item: dict[str, object] = {"type": kind, "loc": loc, "msg": message, "input": given}
    if ctx is not None:
        item["ctx"] = ctx
    raise InvalidRequest([item])


def refuse_value(rule: str, loc: list[str | int], *, given: object) -> NoReturn:
    """Raises InvalidRequest for a value that breaks one of our rules."""
    refuse("value_error", loc, f"Value error, {rule}", given=given)


def _read(request: Request) -> bytes:
    """Returns the body.

    Raises RequestTooLarge, and RequestTimedOut so that no caller holds memory by sending slowly.
    """
    limits: BodyLimits | None = request.environ.get(_LIMITS)
    timeout = gevent.Timeout(limits.seconds if limits else None)
    try:
        with timeout:
            return _read_within_bytes(request)
    except gevent.Timeout as expired:
        if expired is not timeout:
            raise
        raise RequestTimedOut from None
    except (ParseException, OSError):  # malformed chunks, whose error repeats them, or a lost caller
        raise BadRequest from None


def _read_within_bytes(request: Request) -> bytes:
    body = request.get_data(cache=False)
    limit = request.max_content_length
    if request.content_length is not None or limit is None or len(body) < limit:
        return body
    # Of a body without a length, werkzeug returns what is within the limit and does not report the rest.
    if request.environ["wsgi.input"].read(1):
        raise RequestTooLarge
    return body


def _parse(body: bytes, request: Request, model: type[BodyT]) -> BodyT:
    if not body:
        refuse("missing", ["body"], "Field required")
    if not _JSON_TYPE.fullmatch(request.mimetype):  # pages of any origin may send a body without a type
        _refuse_non_object()
    limits: BodyLimits | None = request.environ.get(_LIMITS)
    budget = ValueBudget(limits.values) if limits else None
    try:
        value = _decode(body, budget)
        if not isinstance(value, dict):
            _refuse_non_object()
        _bound_kept_objects(value, limits.kept_objects if limits else {})
        return model.model_validate(value, context={JSON_BUDGET: budget})
    except ValidationError as error:
        raise InvalidRequest(_items(error)) from None
    except TooManyValues:
        most = limits.values if limits else 0
        raise RequestTooLarge(f"the request body holds more than {most} JSON values") from None


def _bound_kept_objects(body: Mapping[str, object], bounds: Mapping[str, int]) -> None:
    for name, most in bounds.items():
        if body.get(name) and len(to_json(body[name])) > most:
            raise ValueTooLarge(f"{name} may have {most:,} bytes of JSON")


def _decode(body: bytes, budget: ValueBudget | None) -> object:
    try:
        return read_json(body.decode(), budget=budget)
    except UnicodeDecodeError as error:
        position, reason = error.start, "Body is not UTF-8"
    except InvalidJson as error:
        position, reason = error.position, str(error)
    refuse("json_invalid", ["body", position], "JSON decode error", given={}, ctx={"error": reason})


def _refuse_non_object() -> NoReturn:
    message = "Input should be a valid dictionary or object to extract fields from"
    refuse("model_attributes_type", ["body"], message, given=REDACTED)


def _items(error: ValidationError) -> list[dict[str, object]]:
    count = error.error_count()
    if count > MAX_PROBLEMS_TOLD:
        # Not even the first few are listed: pydantic creates all or none, at a kilobyte each.
        message = f"{count} problems, more than are told one by one"
        return [{"type": "too_many_problems", "loc": ["body"], "msg": message, "input": REDACTED}]
    return [_item(problem) for problem in error.errors(include_url=False)]


def _item(problem: Mapping[str, Any]) -> dict[str, object]:
    """Renders one of pydantic's problems for the wire, without any credential of the request."""
    loc = ["body", *problem["loc"]]
    item: dict[str, object] = {
        "type": problem["type"],
        "loc": loc,
        "msg": problem["msg"],
        "input": REDACTED if any(_is_secret(part) for part in loc) else _hide_secrets(problem["input"]),
    }
    if "ctx" in problem:
        item["ctx"] = {key: _plain(value) for key, value in problem["ctx"].items()}
    return item


def _hide_secrets(value: object, depth: int = 0) -> object:
    if depth > MAX_SHOWN_DEPTH:
        return REDACTED
    if isinstance(value, dict):
        shown = itertools.islice(value.items(), MAX_SHOWN_ITEMS)
        return {key: REDACTED if _is_secret(key) else _hide_secrets(part, depth + 1) for key, part in shown}
    if isinstance(value, list):
        return [_hide_secrets(part, depth + 1) for part in value[:MAX_SHOWN_ITEMS]]
    if isinstance(value, str):
        return REDACTED if _is_secret(value) else value[:MAX_SHOWN_CHARS]
    return value


def _is_secret(text: object) -> bool:
    """Whether a key, or a text such as JSON in a string, mentions something secret."""
    return isinstance(text, str) and _SECRET.search(text) is not None


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)
