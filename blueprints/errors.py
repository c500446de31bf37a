"""Error responses, all in the service's one shape."""

from __future__ import annotations

import logging
import re

from flask import Blueprint, Flask, Response, jsonify
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from blueprints.request_id import current_request_id
from errors import GreenrunError, InvalidRequest, RequestTooLarge

logger = logging.getLogger(__name__)


def register_error_handlers(scope: Flask | Blueprint, *, malformed: type[InvalidRequest] = InvalidRequest) -> None:
    """Renders the errors of a blueprint, or of a whole application when it is Greenrun's own.

    ``malformed`` is the error for a malformed body or query: ``InvalidRequest`` (422) for Dify's clients, who expect
    that, and ``MalformedRequest`` (400) elsewhere.
    """
    scope.register_error_handler(GreenrunError, render_error)
    scope.register_error_handler(InvalidRequest, lambda error: render_error(malformed(error.items)))
    scope.register_error_handler(RequestEntityTooLarge, lambda _: render_error(RequestTooLarge()))
    scope.register_error_handler(HTTPException, _render_http_exception)
    scope.register_error_handler(Exception, _render_unexpected)


def render_error(error: GreenrunError) -> Response:
    return _response(error.status, error.code, error.message, detail=error.detail, headers=dict(error.headers))


def _render_http_exception(error: HTTPException) -> Response:
    """Renders Flask's own errors, such as an unknown path or a wrong method."""
    if error.code is None or error.code < 400:
        return Response(error.get_body(), error.code or 500, error.get_headers())
    code = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    return _response(error.code, code, error.name.lower(), detail=error.name, headers=headers)


def _render_unexpected(error: Exception) -> Response:
    """Logs an unexpected error with its stack, and answers without any detail of it."""
    logger.exception("request %s: unexpected error", current_request_id())
    return render_error(GreenrunError())


def _response(status: int, code: str, message: str, *, detail: object, headers: dict[str, str]) -> Response:
    response = jsonify(code=code, message=message, status=status, detail=detail)
    response.status_code = status
    response.headers.extend(headers)
    return response
