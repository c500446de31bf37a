"""Headers that keep a browser from treating a response as anything but data."""

from __future__ import annotations

from flask import Blueprint, Flask, Response

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
CACHE_CONTROL = "no-store"
"""The default for routes that set none: responses hold the data of runs."""


def add_security_headers(scope: Flask | Blueprint) -> None:
    """Adds the headers to every response of a blueprint, or of a whole application when it is Greenrun's own.

    What a route sets itself is kept.
    """

    @scope.after_request
    def add(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", CACHE_CONTROL)
        return response
