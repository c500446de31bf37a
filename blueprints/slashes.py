"""Surplus slashes: one at the end is redirected, keeping method, body and query; any others lead to a 404."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from flask import Blueprint, Response, redirect, request
from flask.blueprints import BlueprintSetupState
from werkzeug.wrappers import Response as BaseResponse


def redirect_trailing_slashes(blueprint: Blueprint, rules: Mapping[str, str]) -> None:
    """Answers ``rule/`` with a 308 to ``rule``, for the one method that each rule has.

    With more methods the two could redirect to each other forever: werkzeug adds the slash when only ``rule/`` has a
    method.
    """
    for rule, method in rules.items():
        blueprint.add_url_rule(f"{rule}/", f"slash_{rule}", _without_slash, methods=[method])


def refuse_double_slashes(blueprint: Blueprint) -> None:
    """Answers 404 where werkzeug would redirect to an address made from the Host header, which a caller may choose."""

    def refuse(state: BlueprintSetupState) -> None:
        for rule in state.app.url_map.iter_rules():
            if rule.endpoint.startswith(f"{blueprint.name}."):
                rule.merge_slashes = False

    blueprint.record(refuse)


def _without_slash(**_: str) -> BaseResponse:
    # With one slash at its beginning and no backslash it cannot be read as the address of another host.
    path = quote("/" + (request.script_root + request.path).strip("/"), safe="/:")
    query = request.query_string.decode("latin-1")
    return redirect(f"{path}?{query}" if query else path, code=308, Response=Response)
