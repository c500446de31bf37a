"""Fixtures for tests of the service API: apps, and conversations written directly into the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models import AgentSession, SessionTurn
from runtime.protocol.ids import new_id
from services.chat.apps import App
from services.chat.end_users import EndUserService
from services.database import Database
from tests.support.agent_client import AgentClient, soul

FIRST_TIME = datetime(2026, 5, 1, 12, tzinfo=UTC)
ERROR_KEYS = {"code", "message", "status"}
USER = "ann"


class AppClient(AgentClient):
    """Calls ``/v1`` with the key of a new app."""

    def __init__(self, roster: AgentClient, **of_soul: Any) -> None:
        made = roster.json("POST", "/agents", 201, json={"name": f"app {new_id()}", "agent_soul": soul(**of_soul)})
        key = roster.json("POST", "/keys", 201, json={"kind": "app", "agent_id": made["id"]})
        super().__init__(roster.url, tenant=roster.tenant, key=key["key"])
        self.agent_id: str = made["id"]
        self.version_id: str = made["active_config_snapshot_id"]
        self.app = App(roster.tenant, made["id"], key["id"])

    def get(self, path: str, user: str = USER, **query: Any) -> dict[str, Any]:
        return self.json("GET", f"/v1{path}", params={"user": user, **query})

    def error(self, method: str, path: str, status: int, code: str, **options: Any) -> dict[str, Any]:
        """Returns the error body, which must have this status and code and the shape of this API."""
        return checked_error(self.call(method, f"/v1{path}", **options), status, code)


def checked_error(response: Any, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code), response.text
    assert set(body) - {"params"} == ERROR_KEYS
    assert response.headers["Content-Type"] == "application/json"
    return body


class Stored:
    """Writes conversations and turns into the database; each conversation is a minute younger than the one before."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._minutes = 0

    def conversation(self, app: AppClient, user: str = USER, **values: Any) -> str:
        self._minutes += 1
        moment = FIRST_TIME + timedelta(minutes=self._minutes)
        row = AgentSession(
            tenant_id=app.tenant,
            agent_id=app.agent_id,
            end_user_id=EndUserService(self.database).find_or_make(app.app, user),
            **{"version_id": app.version_id, "created_at": moment, "updated_at": moment, **values},
        )
        with self.database.transaction() as session:
            session.add(row)
        return row.id

    def turn(self, app: AppClient, conversation_id: str, position: int = 1, **values: Any) -> str:
        given = {"query": f"question {position}", "run_id": new_id(), "task_id": new_id(), **values}
        row = SessionTurn(tenant_id=app.tenant, session_id=conversation_id, position=position, **given)
        with self.database.transaction() as session:
            session.add(row)
        return row.id


@pytest.fixture
def stored(database: Database) -> Stored:
    return Stored(database)


@pytest.fixture
def app(roster: AgentClient) -> AppClient:
    """An app of the tenant of ``roster``."""
    return AppClient(roster)


@pytest.fixture
def other_app(roster: AgentClient) -> AppClient:
    """Another app of the same tenant."""
    return AppClient(roster)


@pytest.fixture
def foreign_app(stranger: AgentClient) -> AppClient:
    """An app of another tenant."""
    return AppClient(stranger)
