"""Cross-origin requests: which pages may call a blueprint's routes from a browser (CORS)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from flask import Blueprint, Request, Response, request

from errors import OriginNotAllowed

ANY_ORIGIN = "*"
DEFAULT_METHODS = ("GET", "POST")
PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID, Idempotency-Key",
    "Access-Control-Max-Age": "600",
}
EXPOSED_HEADERS = "Retry-After, X-Request-Id"


def allow_origins(blueprint: Blueprint, origins: Collection[str], *, methods: Sequence[str] = DEFAULT_METHODS) -> None:
    """Lets pages of these origins, or of any with ``*``, call a blueprint that is not yet registered.

    ``methods`` are those of its routes. Cookies are never allowed. The blueprint needs a ``url_prefix``: unknown paths
    and wrong methods below it get the headers too, though they belong to no blueprint. Other routes of the application
    are not touched.
    """
    if not origins:
        return
    preflight_headers = {"Access-Control-Allow-Methods": ", ".join(methods), **PREFLIGHT_HEADERS}

    @blueprint.before_app_request
    def answer_preflight() -> Response | None:
        """Answers without authentication: a preflight never has the token that the request after it will carry."""
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if is_preflight and _is_below(blueprint) and _allowed_origin(origins):
            return Response(status=204, headers=preflight_headers)
        return None

    @blueprint.after_app_request
    def add_headers(response: Response) -> Response:
        if _is_below(blueprint):
            response.vary.add("Origin")
            if allowed := _allowed_origin(origins):
                response.headers["Access-Control-Allow-Origin"] = allowed
                response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        return response


def require_known_origin(request: Request, origins: Collection[str]) -> None:
    """Raises OriginNotAllowed for a WebSocket of a page of another origin: browsers send no preflight for one."""
    origin = request.headers.get("Origin")
    if origin is None or ANY_ORIGIN in origins or origin in origins:
        return
    try:
        is_ours = urlsplit(origin).netloc == request.host
    except ValueError:  # no browser sends an origin that is not a URL
        is_ours = False
    if not is_ours:
        raise OriginNotAllowed


def _is_below(blueprint: Blueprint) -> bool:
    if request.url_rule is not None:
        return request.blueprint == blueprint.name
    return f"{request.path}/".startswith(f"{blueprint.url_prefix}/")


def _allowed_origin(origins: Collection[str]) -> str | None:
    """Returns the origin to allow; None when the request has no origin or one that is not allowed."""
    origin = request.headers.get("Origin")
    if origin is None:
        return None
    if ANY_ORIGIN in origins:
        return ANY_ORIGIN
    return origin if origin in origins else None
