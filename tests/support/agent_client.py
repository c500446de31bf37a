"""A client of ``/agents`` for one tenant."""

from __future__ import annotations

from typing import Any

import requests

from runtime.protocol.ids import new_id

ADMIN_TOKEN = "roster-admin"
TIMEOUT_SECONDS = 60

DEMO_MODEL: dict[str, Any] = {
    "plugin_id": "greenrun/demo",
    "model_provider": "greenrun",
    "model": "demo",
    "model_settings": {"answer": "Hello."},
}


def soul(prompt: str = "You are concise.", **rest: Any) -> dict[str, Any]:
    """A Soul that can run."""
    return {"prompt": {"system_prompt": prompt}, "model": DEMO_MODEL, **rest}


class AgentClient:
    """Calls as the operator, for a new tenant unless one is named, or with a key."""

    def __init__(self, url: str, *, tenant: str | None = None, key: str | None = None) -> None:
        self.url = url
        self.tenant = tenant or new_id()
        self._headers = {"Authorization": f"Bearer {key or ADMIN_TOKEN}"}
        if key is None:
            self._headers["X-Tenant-Id"] = self.tenant

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {**self._headers, **options.pop("headers", {})}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, self.url + path, headers=headers, timeout=TIMEOUT_SECONDS, **options)

    def json(self, method: str, path: str, status: int = 200, **options: Any) -> dict[str, Any]:
        """Returns the body of the answer, which must have this status."""
        response = self.call(method, path, **options)
        assert response.status_code == status, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def refused(self, method: str, path: str, status: int, code: str, **options: Any) -> dict[str, Any]:
        """Returns the error body, which must have this status and code."""
        answer = self.json(method, path, status, **options)
        assert answer["code"] == code
        return answer

    def agent(self, name: str = "Ada", **rest: Any) -> dict[str, Any]:
        return self.json("POST", "/agents", 201, json={"name": name, "agent_soul": soul(), **rest})

    def version(self, agent_id: str, prompt: str, **rest: Any) -> dict[str, Any]:
        body = {"agent_soul": soul(prompt), **rest}
        return self.json("POST", f"/agents/{agent_id}/versions", 201, json=body)

    def versions(self, agent_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("GET", f"/agents/{agent_id}/versions")["data"]
        return found

    def active(self, agent_id: str) -> str:
        active: str = self.json("GET", f"/agents/{agent_id}")["active_config_snapshot_id"]
        return active
