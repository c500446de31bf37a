"""Redirects from a path with a trailing slash to the one without, keeping method, body and query."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as BaseResponse


def redirect_trailing_slashes(blueprint: Blueprint, rules: Mapping[str, str]) -> None:
    """Answer ``rule/`` with a 308 to ``rule``, for the one method that each rule has.

    With more methods the two would send callers to and fro: werkzeug adds the slash when only ``rule/`` has a method.
    """
    for rule, method in rules.items():
        blueprint.add_url_rule(f"{rule}/", f"slash_{rule}", _without_slash, methods=[method])


def _without_slash(**_: str) -> BaseResponse:
    path = quote(request.script_root + request.path.rstrip("/"), safe="/:")
    query = request.query_string.decode("latin-1")
    return redirect(f"{path}?{query}" if query else path, code=308, Response=Response)
