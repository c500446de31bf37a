"""``ETag`` and ``If-Match``: a change is made only to what its caller has seen."""

from __future__ import annotations

from typing import Any

from flask import Request, Response, jsonify


def parse_if_match(request: Request) -> frozenset[str] | None:
    """The ids of which the active version must have one; None when any will do."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    return frozenset(request.if_match.as_set())


def tagged(answer: dict[str, Any], active_id: str | None) -> Response:
    """A JSON answer about an agent, with the tag that the next change of it may name: the id of its active version."""
    response = jsonify(answer)
    if active_id is not None:
        response.set_etag(active_id)
    return response
