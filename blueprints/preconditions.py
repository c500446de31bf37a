"""``ETag`` and ``If-Match``: a change is made only to the version that its caller has seen."""

from __future__ import annotations

from typing import Any

from flask import Request, Response, jsonify


def parse_if_match(request: Request) -> frozenset[str] | None:
    """Returns the ids one of which must be the active version's; None when any will do."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    return frozenset(request.if_match.as_set())


def tagged(answer: dict[str, Any], active_id: str | None) -> Response:
    """Returns a JSON response about an agent, with its active version's id as the ETag for the caller's next change."""
    response = jsonify(answer)
    if active_id is not None:
        response.set_etag(active_id)
    return response
