"""Request ids: the name of one request for its caller, for proxies and in the log."""

from __future__ import annotations

import re

from flask import Blueprint, Flask, Response, g, request

from runtime.protocol.ids import new_id

REQUEST_ID_HEADER = "X-Request-Id"
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,128}")


def add_request_id(scope: Flask | Blueprint) -> None:
    """Adds the request's id to every response of a blueprint, or of a whole application when it is Greenrun's own."""

    @scope.after_request
    def add(response: Response) -> Response:
        response.headers[REQUEST_ID_HEADER] = current_request_id()
        return response


def current_request_id() -> str:
    """Returns the current request's id: the one its caller gave, if that is harmless in a log line, else a new one."""
    if "greenrun_request_id" not in g:
        given = request.headers.get(REQUEST_ID_HEADER, "")
        g.greenrun_request_id = given if _ACCEPTED.fullmatch(given) else new_id()
    request_id: str = g.greenrun_request_id
    return request_id
