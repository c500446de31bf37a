"""Error responses of Dify's service API: exactly ``code``, ``message`` and ``status``, as its clients expect them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.http import HTTP_STATUS_CODES

from blueprints.request_id import current_request_id
from errors import (
    CapacityReached,
    GreenrunError,
    InvalidRequest,
    MalformedRequest,
    ParameterRefused,
    RateLimited,
    RequestRefused,
    RequestTooLarge,
    Unauthorized,
)
from services.chat.failures import ChatFailure

logger = logging.getLogger(__name__)

REALM = "api"
TOO_MANY_REQUESTS = "too_many_requests"
"""What these clients know every 429 as. The message says what there were too many of."""

MAX_MESSAGE_CHARS = 2000
MOST_PROBLEMS_TOLD = 10


def register_service_errors(blueprint: Blueprint) -> None:
    """Renders the errors of the service API, those of unknown paths and wrong methods below it too.

    The blueprint is not yet registered and has a ``url_prefix``.
    """
    blueprint.register_error_handler(GreenrunError, render_service_error)
    blueprint.register_error_handler(RequestEntityTooLarge, lambda _: render_service_error(RequestTooLarge()))
    blueprint.register_error_handler(HTTPException, _render_http_exception)
    blueprint.register_error_handler(Exception, _render_unexpected)

    @blueprint.before_app_request
    def tell_unknown_routes() -> Response | None:
        """Answers requests below the prefix that match no route.

        Such requests belong to no blueprint, and the errors of the rest of the application are not touched.
        """
        error = request.routing_exception
        is_below = f"{request.path}/".startswith(f"{blueprint.url_prefix}/")
        if error is None or not is_below or error.code is None or error.code < 400:
            return None
        return _render_http_exception(error)


def render_service_error(error: GreenrunError) -> Response:
    """Renders any of our errors in this shape."""
    if isinstance(error, InvalidRequest):
        return _render_malformed(error)
    if isinstance(error, Unauthorized):
        error = Unauthorized(error.message, realm=REALM)
    if isinstance(error, CapacityReached):
        return _response(RateLimited.status, TOO_MANY_REQUESTS, error.message, headers=error.headers)
    code = TOO_MANY_REQUESTS if error.status == RateLimited.status else error.code
    params = {"params": error.params} if isinstance(error, ParameterRefused) else {}
    return _response(error.status, code, error.message, headers=error.headers, **params)


def render_failure(failure: ChatFailure) -> Response:
    """Renders why a turn has no answer, for a client that has waited for the whole of it."""
    return _response(failure.status, failure.code, failure.message)


def _render_malformed(error: InvalidRequest) -> Response:
    first = error.items[0]
    if first["type"] == "json_invalid":
        return _response(RequestRefused.status, RequestRefused.code, "the body is not JSON")
    return _response(MalformedRequest.status, MalformedRequest.code, _text_of(error), params=_place(first))


def _text_of(error: InvalidRequest) -> str:
    """Returns the problems in pydantic's form, without any of the values."""
    count = len(error.items)
    lines = [f"{count} validation error{'' if count == 1 else 's'} for the request"]
    for item in error.items[:MOST_PROBLEMS_TOLD]:
        lines += [_place(item), f"  {item['msg']} [type={item['type']}]"]
    return "\n".join(lines)[:MAX_MESSAGE_CHARS]


def _place(item: Mapping[str, Any]) -> str:
    """Returns where in the body or in the query a problem is."""
    where, *inside = item["loc"]
    return ".".join(str(part) for part in inside) or str(where)


def _render_http_exception(error: HTTPException) -> Response:
    """Renders Flask's own errors, such as an unknown path or a wrong method."""
    if error.code is None or error.code < 400:
        return Response(error.get_body(), error.code or 500, error.get_headers())
    name = HTTP_STATUS_CODES.get(error.code, "error").lower()
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    return _response(error.code, name.replace(" ", "_"), name, headers=headers)


def _render_unexpected(error: Exception) -> Response:
    """Logs an unexpected error with its stack, and answers without any detail of it."""
    logger.exception("request %s: unexpected error", current_request_id())
    return render_service_error(GreenrunError())


def _response(
    status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None, **more: str
) -> Response:
    response = jsonify(code=code, message=message, status=status, **more)
    response.status_code = status
    response.headers.extend(headers or {})
    return response
