"""The names that a server is called by: a page whose own name leads here must not pass for one of ours."""

from __future__ import annotations

import re
from collections.abc import Collection

from flask import Blueprint, request

from errors import HostNotAllowed

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+?)\.?(?::\d*)?", re.ASCII | re.IGNORECASE)


def require_known_host(blueprint: Blueprint, hosts: Collection[str]) -> None:
    """Refuse requests whose Host header names none of ``hosts``, before any door. No ``hosts`` lets any name pass."""
    if not hosts:
        return

    @blueprint.before_app_request
    def check_host() -> None:
        if request.blueprint == blueprint.name and not is_known_host(request.headers.get("Host", ""), hosts):
            raise HostNotAllowed


def is_known_host(header: str, hosts: Collection[str]) -> bool:
    """Whether a Host header names one of ``hosts``; ``.example.com`` is that name and all below it.

    Neither ports nor case nor a dot at the end count. werkzeug's own check knows no IPv6 addresses.
    """
    match = _HOST.fullmatch(header)
    if match is None:
        return False
    name = match[1].lower()
    return any(name == host.removeprefix(".") or (host.startswith(".") and name.endswith(host)) for host in hosts)
