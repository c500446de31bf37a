"""A client of the routes of a tenant."""

from __future__ import annotations

from typing import Any

import requests

from tests.support.gunicorn_server import GunicornServer

ADMIN = "operator-of-the-tests"
DEADLINE_SECONDS = 30.0


class Caller:
    """Calls with one bearer token."""

    collection = ""
    """The path that is called when none is given."""

    def __init__(self, server: GunicornServer, token: str, **headers: str) -> None:
        self._server = server
        self._headers = {"Authorization": f"Bearer {token}", **headers}

    def __call__(self, method: str, path: str | None = None, **options: Any) -> requests.Response:
        # A new connection for each request, so that any worker may get it.
        with requests.Session() as session:
            session.trust_env = False
            headers = {**self._headers, **options.pop("headers", {})}
            url = self._server.url + (self.collection if path is None else path)
            return session.request(method, url, headers=headers, timeout=DEADLINE_SECONDS, **options)

    def rows(self) -> list[dict[str, Any]]:
        """Returns the listed rows, a hundred at most."""
        listed: list[dict[str, Any]] = self("GET", f"{self.collection}?limit=100").json()["data"]
        return listed


def error(response: requests.Response, status: int, code: str) -> Any:
    """Returns the detail of the error, which must have this status and code."""
    body = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code), response.text
    return body["detail"]


def audited(server: GunicornServer, tenant: str) -> list[str]:
    """The lines of the audit trail about a tenant."""
    lines = (line.partition(" INFO audit ")[2] for line in server.log.splitlines())
    return [line for line in lines if f"tenant={tenant} " in line]
