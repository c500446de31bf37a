"""``If-Match``: a change is made only to what its caller has seen."""

from __future__ import annotations

from flask import Request


def parse_if_match(request: Request) -> frozenset[str] | None:
    """The ids of which the active version must have one; None when any will do."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    return frozenset(request.if_match.as_set())
