"""How a blueprint is registered: with all that is the same for every one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from flask import Blueprint, Flask, Request, g, request
from pydantic import SecretStr

from blueprints.cors import allow_origins
from blueprints.errors import register_error_handlers
from blueprints.hosts import require_known_host
from blueprints.parsing import BodyLimits, limit_body
from blueprints.rate_limit import limit_requests
from blueprints.request_id import add_request_id
from blueprints.security_headers import add_security_headers
from blueprints.slashes import refuse_double_slashes
from errors import MalformedRequest
from services.rate_limiter import RateLimiter


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRules:
    """What the operator has set for requests, whatever they are for."""

    body_limits: BodyLimits
    hosts: Collection[str]
    """The names that the server may be called by; with none any name will do."""
    origins: Collection[str]
    """Those of pages that may call from a browser."""
    limiter: RateLimiter


def _add_errors(blueprint: Blueprint) -> None:
    register_error_handlers(blueprint, malformed=MalformedRequest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A blueprint, and who comes in."""

    blueprint: Blueprint
    caller: Callable[[Request], object] | None
    """Tells who calls, for ``current_caller``; raises for those who are not let in. None lets in everybody, as often as
    they like and by any name: probes, which learn nothing."""
    tokens: Sequence[SecretStr] = field(default=(), repr=False)
    """The settings' tokens that open it: their requests are counted apart from others of the same address."""
    browser_methods: Sequence[str] = ()
    """The methods that pages of the allowed origins may use; with none no page of another origin may call."""
    add_errors: Callable[[Blueprint], None] = _add_errors
    """Renders its errors."""


def register(app: Flask, one: Registration, rules: RequestRules) -> None:
    """Register a blueprint with all that belongs around its views."""
    blueprint = one.blueprint
    # Of what comes before a view, that of the application is first, in this order: unknown paths of Dify's API,
    # preflights, which bring no token and are not counted, the counting, and the name that the server is called by.
    one.add_errors(blueprint)
    if one.browser_methods:
        allow_origins(blueprint, rules.origins, methods=one.browser_methods)
    if one.caller is not None:
        limit_requests(blueprint, rules.limiter, one.tokens)
        require_known_host(blueprint, rules.hosts)
        _let_in(blueprint, one.caller, rules.body_limits)
    refuse_double_slashes(blueprint)
    add_security_headers(blueprint)
    add_request_id(blueprint)
    app.register_blueprint(blueprint)


def _let_in(blueprint: Blueprint, caller: Callable[[Request], object], body_limits: BodyLimits) -> None:
    @blueprint.before_request
    def let_in() -> None:
        limit_body(request, body_limits)
        g.caller = caller(request)
