"""Redirects from a path with a trailing slash to the one without, keeping method, body and query."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as BaseResponse

METHODS = ("GET", "POST")


def redirect_trailing_slashes(blueprint: Blueprint, *rules: str) -> None:
    """Answer ``rule/`` with a 308 to ``rule``."""
    for rule in rules:
        blueprint.add_url_rule(f"{rule}/", f"slash_{rule}", _without_slash, methods=METHODS)


def _without_slash(**_: str) -> BaseResponse:
    path = request.script_root + request.path.rstrip("/")
    query = request.query_string.decode("latin-1")
    return redirect(f"{path}?{query}" if query else path, code=308, Response=Response)
