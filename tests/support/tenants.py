"""A server whose tenants have limits, and callers with a key of one tenant each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from tests.conftest import Setting, StartServer
from tests.support.agent_client import ADMIN_TOKEN, TIMEOUT_SECONDS, AgentClient
from tests.support.agent_server import SECRET_KEYS
from tests.support.client import plugin_layers, prompt
from tests.support.databases import migrate
from tests.support.gunicorn_server import GunicornServer
from tests.support.session_client import SessionClient


class Tenant(SessionClient):
    """Calls with a key of a workspace of its own."""

    def __init__(self, url: str) -> None:
        operator = AgentClient(url)
        self.key = str(operator.json("POST", "/keys", 201, json={"kind": "workspace"})["key"])
        super().__init__(url, tenant=operator.tenant, key=self.key)

    def post_run(self, model: str, **headers: str) -> requests.Response:
        """Ask for a run of a scripted model."""
        body = {"composition": {"layers": [prompt(), *plugin_layers(model, tenant_id=self.tenant)]}}
        return self.call("POST", "/runs", json=body, headers=headers)

    def start_run(self, model: str) -> str:
        """Start a run that must be accepted; its id."""
        response = self.post_run(model)
        assert response.status_code == 202, response.text
        return str(response.json()["run_id"])

    def open(
        self,
        path: str,
        token: str | None = None,
        method: str = "GET",
        *,
        more: Mapping[str, str] | None = None,
        **options: Any,
    ) -> requests.Response:
        """An answer whose body is not read. ``more`` are headers that are sent as well."""
        headers = {**({} if token is not None else self._headers), **(more or {})}
        with requests.Session() as session:
            session.trust_env = False
            url = f"{self.url}{path}" + (f"?token={token}" if token is not None else "")
            return session.request(method, url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS, **options)

    def refused_run(self, model: str, bound: str) -> requests.Response:
        """Ask for a run, which must be refused for this bound."""
        return refused(self.post_run(model), bound)


def refused(response: requests.Response, bound: str, code: str = "tenant_limit_reached") -> requests.Response:
    """An answer, which must say that the tenant has reached this bound."""
    body = response.json()
    assert (response.status_code, body["code"]) == (429, code), response.text
    assert body["message"] == f"the tenant has reached its limit: {bound}; try again shortly"
    assert int(response.headers["Retry-After"]) >= 1
    return response


def limited_server(
    start_server: StartServer, folder: Path, prefix: str, *, workers: int = 1, **settings: Setting
) -> GunicornServer:
    """A server with a database of its own."""
    database = f"sqlite:///{folder / 'tenants.sqlite'}"
    migrate(database)
    own = {"redis_prefix": prefix, "admin_token": ADMIN_TOKEN, "database_url": database, "secret_keys": SECRET_KEYS}
    return start_server({**own, **settings}, workers=workers)
