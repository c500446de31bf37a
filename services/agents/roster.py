"""Agents of the roster: creating, listing, reading, changing and archiving them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from errors import AgentArchived
from models import Agent
from models.enums import AgentScope, AgentSource, RevisionOperation
from runtime.protocol.ids import new_id
from services.agents.descriptions import AgentDescription
from services.agents.lookup import describe_agent, find_agent, lock_for_change
from services.agents.requests import ChangeAgentRequest, CreateAgentRequest
from services.agents.search import find_nodes, find_page
from services.agents.writer import NewAgent, add_agent, archive_agent, change_agent, write_version
from services.database import Database
from services.idempotency import claim_of, once
from services.pages import NumberedPage
from services.souls import AgentSoulConfig


class AgentService:
    """Creates, lists, changes and archives agents.

    Its methods raise DatabaseUnavailable besides the errors they name.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_agent(
        self, tenant_id: str, wanted: CreateAgentRequest, *, created_by: str | None, idempotency_key: str | None = None
    ) -> AgentDescription:
        """Creates an agent with its first version, or returns the one that the idempotency key has created.

        Raises AgentNameTaken and IdempotencyKeyReused.
        """
        agent_id = new_id()

        def make(session: Session) -> AgentDescription:
            return add_with_version(
                session, tenant_id, wanted, agent_id=agent_id, source=AgentSource.ROSTER, actor=created_by
            )

        def again(session: Session, earlier: str) -> AgentDescription:
            return describe_agent(session, find_agent(session, tenant_id, earlier))

        claim = claim_of(wanted, idempotency_key, scope="agents")
        return once(self._database, tenant_id, claim, agent_id, make, again)

    def list_agents(
        self, tenant_id: str, *, page: int, limit: int, keyword: str | None = None
    ) -> NumberedPage[AgentDescription]:
        """Returns a page of active agents, the most recently changed first.

        ``keyword`` is a part of the name, in upper or lower case.
        """
        with self._database.reading() as session:
            return find_page(session, tenant_id, page=page, limit=limit, keyword=keyword)

    def list_invitable(
        self, tenant_id: str, *, page: int, limit: int, keyword: str | None, app_id: str | None
    ) -> NumberedPage[dict[str, Any]]:
        """As ``list_agents``, with the nodes of the app's drafts to which each agent is already bound."""
        with self._database.reading() as session:
            found = find_page(session, tenant_id, page=page, limit=limit, keyword=keyword)
            nodes = find_nodes(session, tenant_id, app_id, found.data) if app_id else {}
        told = [_invitable(agent, nodes.get(agent.id, [])) for agent in found.data]
        return NumberedPage.of(told, page=page, limit=limit, total=found.total)

    def get_agent(self, tenant_id: str, agent_id: str) -> AgentDescription:
        """Returns an agent, archived or not. Raises AgentNotFound."""
        with self._database.reading() as session:
            return describe_agent(session, find_agent(session, tenant_id, agent_id))

    def change_agent(
        self,
        tenant_id: str,
        agent_id: str,
        wanted: ChangeAgentRequest,
        *,
        changed_by: str | None,
        if_match: Collection[str] | None = None,
    ) -> AgentDescription:
        """Changes the name, description or looks of an agent, without a new version.

        Raises AgentNotFound, AgentArchived, AgentNameTaken and PreconditionFailed.
        """
        with self._database.transaction() as session:
            agent = lock_for_change(session, tenant_id, agent_id, if_match=if_match)
            if wanted.model_fields_set:
                changes = {name: getattr(wanted, name) for name in wanted.model_fields_set}
                change_agent(session, agent, changes, actor=changed_by)
            return describe_agent(session, agent)

    def archive_agent(
        self, tenant_id: str, agent_id: str, *, archived_by: str | None, if_match: Collection[str] | None = None
    ) -> None:
        """Archives an agent for good. If it is archived already, nothing happens.

        Raises AgentNotFound and PreconditionFailed.
        """
        with self._database.transaction() as session:
            try:
                agent = lock_for_change(session, tenant_id, agent_id, if_match=if_match)
            except AgentArchived:
                return
            archive_agent(agent, actor=archived_by)

    def has_agents(self, tenant_id: str) -> bool:
        """Whether the tenant has or ever had an agent."""
        with self._database.reading() as session:
            return session.scalar(select(Agent.id).where(Agent.tenant_id == tenant_id).limit(1)) is not None


def add_with_version(
    session: Session,
    tenant_id: str,
    wanted: CreateAgentRequest,
    *,
    agent_id: str,
    source: AgentSource,
    actor: str | None,
    operation: RevisionOperation = RevisionOperation.CREATE_VERSION,
) -> AgentDescription:
    """Creates an agent of the roster with its first version. Raises AgentNameTaken."""
    looks = wanted.model_dump(exclude={"agent_soul", "version_note"})
    new = NewAgent(id=agent_id, scope=AgentScope.ROSTER, source=source, **looks)
    agent = add_agent(session, tenant_id, new, actor=actor)
    soul = wanted.agent_soul or AgentSoulConfig()
    write_version(session, agent, soul.as_json(), operation=operation, actor=actor, version_note=wanted.version_note)
    return describe_agent(session, agent)


def _invitable(agent: AgentDescription, node_ids: Sequence[str]) -> dict[str, Any]:
    """Returns an agent, with the nodes to which it is already bound."""
    places = {
        "is_in_current_workflow": bool(node_ids),
        "in_current_workflow_count": len(node_ids),
        "existing_node_ids": node_ids,
    }
    return {**agent.as_json(), **places}
