"""A client of the composers, and a view of the rows that its saves have written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import requests
from sqlalchemy import select

from models import Agent, AgentConfigRevision, AgentConfigSnapshot, WorkflowAgentNodeBinding
from models.enums import AgentScope, AgentSource, RevisionOperation
from services.agents.writer import write_version
from services.database import Database
from services.souls import AgentSoulConfig

DEADLINE_SECONDS = 60.0
UNLOCKED = {"locked": False}


class Composer:
    """One caller, for one tenant."""

    def __init__(self, url: str, token: str, tenant: str, **headers: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}", "X-Tenant-Id": tenant, **headers}
        self.tenant = tenant

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        # A new connection for each request, so that any worker may get it.
        with requests.Session() as session:
            session.trust_env = False
            headers = {**self._headers, **options.pop("headers", {})}
            return session.request(method, self._url + path, headers=headers, timeout=DEADLINE_SECONDS, **options)

    def node(self, node: str = "n1", *, app: str = "app-1") -> Node:
        return Node(self, f"/apps/{app}/workflows/draft/nodes/{node}/agent-composer")

    def app(self, app: str = "app-1") -> App:
        return App(self, f"/apps/{app}/agent-composer")


class Place:
    """One node or app, as its composer reads and saves it."""

    variant = ""

    def __init__(self, composer: Composer, path: str) -> None:
        self._composer = composer
        self.path = path

    def put(self, strategy: str, **body: Any) -> requests.Response:
        headers = body.pop("headers", {})
        json = {"variant": self.variant, "save_strategy": strategy, **body}
        return self._composer.call("PUT", self.path, json=json, headers=headers)

    def get(self, route: str = "", **query: str) -> requests.Response:
        return self._composer.call("GET", self.path + route, params=query)

    def post(self, route: str, body: Any) -> requests.Response:
        return self._composer.call("POST", f"{self.path}/{route}", json=body)

    def saved(self, strategy: str, **body: Any) -> dict[str, Any]:
        """Saves, which must succeed, and returns the new state."""
        response = self.put(strategy, **body)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def state(self, **query: str) -> dict[str, Any]:
        response = self.get(**query)
        assert response.status_code == 200, response.text
        return dict(response.json())


class Node(Place):
    variant = "workflow"

    def put(self, strategy: str, **body: Any) -> requests.Response:
        return super().put(strategy, **{"soul_lock": UNLOCKED, **body})


class App(Place):
    variant = "agent_app"


def soul(prompt: str = "You sum up.", **rest: Any) -> dict[str, Any]:
    return {"prompt": {"system_prompt": prompt}, **rest}


def prompt_of(state: dict[str, Any]) -> str:
    return str(state["agent_soul"]["prompt"]["system_prompt"])


class Stored:
    """The agents, versions, revisions and bindings of a tenant, as they are stored."""

    def __init__(self, database: Database, tenant: str) -> None:
        self._database = database
        self._tenant = tenant

    def roster_agent(self, name: str = "Ada", **soul: Any) -> Agent:
        """Stores an agent of the roster with one version."""
        agent = Agent(tenant_id=self._tenant, name=name, scope=AgentScope.ROSTER, source=AgentSource.ROSTER)
        with self._database.transaction() as session:
            session.add(agent)
            write_version(
                session,
                agent,
                AgentSoulConfig.model_validate(soul).as_json(),
                operation=RevisionOperation.CREATE_VERSION,
                actor=None,
            )
        return agent

    def change(self, agent_id: str, **values: Any) -> None:
        with self._database.transaction() as session:
            agent = session.get_one(Agent, agent_id)
            for name, value in values.items():
                setattr(agent, name, value)

    def add(self, *rows: Any) -> None:
        with self._database.transaction() as session:
            session.add_all(rows)

    def agents(self) -> Sequence[Agent]:
        return self._all(Agent)

    def agent(self, agent_id: str) -> Agent:
        return next(agent for agent in self.agents() if agent.id == agent_id)

    def versions(self, agent_id: str) -> list[AgentConfigSnapshot]:
        rows = [row for row in self._all(AgentConfigSnapshot) if row.agent_id == agent_id]
        return sorted(rows, key=lambda row: row.version)

    def history(self, agent_id: str) -> list[AgentConfigRevision]:
        rows = [row for row in self._all(AgentConfigRevision) if row.agent_id == agent_id]
        return sorted(rows, key=lambda row: row.revision)

    def bindings(self) -> Sequence[WorkflowAgentNodeBinding]:
        return self._all(WorkflowAgentNodeBinding)

    def counts(self) -> list[int]:
        """The number of rows of each kind; unchanged counts mean that nothing was stored."""
        kinds = (Agent, AgentConfigSnapshot, AgentConfigRevision, WorkflowAgentNodeBinding)
        return [len(self._all(kind)) for kind in kinds]

    def _all(self, kind: Any) -> Sequence[Any]:
        with self._database.reading() as session:
            return session.scalars(select(kind).where(kind.tenant_id == self._tenant)).all()
