"""The server's host names. Others are refused, so that no page whose own name resolves here passes for ours."""

from __future__ import annotations

import re
from collections.abc import Collection

from flask import Blueprint, request

from errors import HostNotAllowed

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+?)\.?(?::\d*)?", re.ASCII | re.IGNORECASE)


def require_known_host(blueprint: Blueprint, hosts: Collection[str]) -> None:
    """Refuses requests whose Host header names none of ``hosts``, before authentication.

    Without ``hosts``, any host name is accepted.
    """
    if not hosts:
        return

    @blueprint.before_app_request
    def check_host() -> None:
        if request.blueprint == blueprint.name and not is_known_host(request.headers.get("Host", ""), hosts):
            raise HostNotAllowed


def is_known_host(header: str, hosts: Collection[str]) -> bool:
    """Whether a Host header names one of ``hosts``; ``.example.com`` stands for that name and all below it.

    Port, case and a trailing dot are ignored. werkzeug's own check does not support IPv6 addresses.
    """
    match = _HOST.fullmatch(header)
    if match is None:
        return False
    name = match[1].lower()
    return any(name == host.removeprefix(".") or (host.startswith(".") and name.endswith(host)) for host in hosts)
