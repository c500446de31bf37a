"""Registering blueprints, with all that is the same for every one of them."""

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
    """The operator's settings for all requests."""

    body_limits: BodyLimits
    hosts: Collection[str]
    """The host names that the server accepts; with none any name will do."""
    origins: Collection[str]
    """The origins of pages that may call from a browser."""
    limiter: RateLimiter


def _add_errors(blueprint: Blueprint) -> None:
    register_error_handlers(blueprint, malformed=MalformedRequest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A blueprint, and who may call it."""

    blueprint: Blueprint
    caller: Callable[[Request], object] | None
    """Returns the caller, for ``current_caller``; raises for those who are not admitted. None admits everybody, under
    any host name and without a rate limit: for probes, which reveal nothing."""
    tokens: Sequence[SecretStr] = field(default=(), repr=False)
    """The tokens from the settings that give access to it: their requests are counted apart from others of the same
    address."""
    browser_methods: Sequence[str] = ()
    """The methods that pages of the allowed origins may use; with none, no page of another origin may call."""
    add_errors: Callable[[Blueprint], None] = _add_errors
    """Registers the rendering of its errors."""


def register(app: Flask, one: Registration, rules: RequestRules) -> None:
    """Registers a blueprint together with all that surrounds its views."""
    blueprint = one.blueprint
    # The hooks that run before a view run in this order, the application's first: unknown paths of Dify's API,
    # preflights (which carry no token and are not counted), the rate limit, and the check of the host name.
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
