"""Headers that keep a browser from making more of an answer than it is."""

from __future__ import annotations

from flask import Blueprint, Flask, Response

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
CACHE_CONTROL = "no-store"
"""Unless a route says otherwise: answers hold the data of a run."""


def add_security_headers(scope: Flask | Blueprint) -> None:
    """Put them on every answer of a blueprint, or of a whole application when it is ours; what a route sets stays."""

    @scope.after_request
    def add(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", CACHE_CONTROL)
        return response
