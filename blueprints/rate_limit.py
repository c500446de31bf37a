"""Requests a second of one caller, who is told by a valid bearer token, or else by the address."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence

from flask import Blueprint, Request, current_app, request
from pydantic import SecretStr

from blueprints.auth import matching_digest
from services.rate_limiter import RateLimiter

TRUSTED_PROXIES = "greenrun.trusted_proxies"
"""The extension with gunicorn's ``forwarded_allow_ips``: who may say for whom a request is. Without it, nobody may."""

ANYBODY = "*"
IPV6_PREFIX = 64
"""Bits of an IPv6 address that tell a caller: whoever has one such network has all of its addresses."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def limit_requests(blueprint: Blueprint, limiter: RateLimiter, tokens: Sequence[SecretStr]) -> None:
    """Bound the requests to a blueprint that is not registered yet. ``tokens`` are those that open it.

    Requests that no door would let in count as well, by their address, so that tokens cannot be tried out quickly.
    """
    if not limiter.is_on:
        return

    @blueprint.before_app_request
    def take_one() -> None:
        if request.blueprint == blueprint.name:
            limiter.take(matching_digest(request, tokens) or caller_network(request, _trusted_proxies()))


def caller_network(request: Request, trusted: Collection[str]) -> str:
    """The address that a request comes from, by the word of trusted proxies alone; of IPv6, the network."""
    hops = [hop.strip() for hop in ",".join(request.headers.getlist("X-Forwarded-For")).split(",")]
    caller = request.remote_addr or ""
    # Each proxy adds at the end whom it got the request from: the last one who is no proxy is the caller.
    while hops and _is_trusted(caller, trusted) and _address(hops[-1]) is not None:
        caller = hops.pop()
        if ANYBODY in trusted:
            break  # then every address would pass for a proxy, down to what the caller has written itself
    address = _address(caller)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return caller


def _trusted_proxies() -> Collection[str]:
    proxies: Collection[str] = current_app.extensions.get(TRUSTED_PROXIES, ())
    return proxies


def _is_trusted(caller: str, trusted: Collection[str]) -> bool:
    if ANYBODY in trusted or not caller:  # a unix socket has no address: who may open it is a matter of files
        return bool(trusted)
    address = _address(caller)
    return address is not None and any(address in ipaddress.ip_network(network, strict=False) for network in trusted)


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
