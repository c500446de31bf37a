"""Apps: in Dify's service API, every agent of the roster is one."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from errors import AppForbidden, ItemNotFound
from models import Agent
from models.enums import AgentScope, AgentStatus
from runtime.protocol.ids import is_id
from services.database import Database

APP_NOT_FOUND = "App Not Exists."


@dataclass(frozen=True, slots=True)
class App:
    """The app that a request of the service API is for: one agent of one tenant."""

    tenant_id: str
    agent_id: str
    key_id: str | None
    """None for the operator."""


class AppService:
    """Finds apps. Its methods raise DatabaseUnavailable besides the errors they name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_app(self, tenant_id: str, agent: str, *, key_id: str | None) -> App:
        """Returns the app of an agent, which is named by its id or its name in the roster.

        Raises ItemNotFound, and AppForbidden when the agent is archived.
        """
        by = Agent.id == agent if is_id(agent) else Agent.roster_unique_name == agent
        # No name contains a NUL, and PostgreSQL refuses a text with one.
        found = None
        if "\0" not in agent:
            wanted = select(Agent.id, Agent.status).where(by, Agent.tenant_id == tenant_id)
            with self._database.reading() as session:
                found = session.execute(wanted.where(Agent.scope == AgentScope.ROSTER)).one_or_none()
        if found is None:
            raise ItemNotFound(APP_NOT_FOUND)
        if found.status is not AgentStatus.ACTIVE:
            raise AppForbidden
        return App(tenant_id, found.id, key_id)
