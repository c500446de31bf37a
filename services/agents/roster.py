"""Agents of the roster: made, listed, read, changed and archived."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from errors import AgentArchived, AgentNameTaken
from models import Agent
from models.enums import AgentScope, AgentSource, AgentStatus, RevisionOperation
from runtime.protocol.ids import new_id
from services.agents.claims import once
from services.agents.descriptions import AgentDescription
from services.agents.lookup import describe_agent, find_agent, lock_for_change
from services.agents.requests import ChangeAgentRequest, CreateAgentRequest
from services.agents.search import AgentPage, find_nodes, find_page
from services.agents.versions import write_version
from services.database import Database
from services.idempotency import claim_of
from services.souls import AgentSoulConfig

UNIQUE_NAME = "roster_unique_name"
"""What every database says of its unique constraint when a name is taken."""


class AgentService:
    """The rules of agents. Its methods raise DatabaseUnavailable besides what they say."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_agent(
        self, tenant_id: str, wanted: CreateAgentRequest, *, created_by: str | None, idempotency_key: str | None = None
    ) -> AgentDescription:
        """Make an agent with its first version, or answer what the idempotency key has made.

        Raises AgentNameTaken and IdempotencyKeyReused.
        """
        agent_id = new_id()

        def make(session: Session) -> AgentDescription:
            agent = add_agent(
                session, tenant_id, wanted, agent_id=agent_id, source=AgentSource.ROSTER, created_by=created_by
            )
            return describe_agent(session, agent)

        def again(session: Session, earlier: str) -> AgentDescription:
            return describe_agent(session, find_agent(session, tenant_id, earlier))

        claim = claim_of(wanted, idempotency_key, scope="agents")
        return once(self._database, tenant_id, claim, agent_id, make, again)

    def list_agents(self, tenant_id: str, *, page: int, limit: int, keyword: str | None = None) -> AgentPage:
        """Active agents, the one changed last first. ``keyword`` is a part of the name, in any case."""
        with self._database.reading() as session:
            return find_page(session, tenant_id, page=page, limit=limit, keyword=keyword)

    def list_invitable(
        self, tenant_id: str, *, page: int, limit: int, keyword: str | None, app_id: str | None
    ) -> dict[str, Any]:
        """As ``list_agents``, with the nodes of the app's drafts that each agent is bound to already."""
        with self._database.reading() as session:
            found = find_page(session, tenant_id, page=page, limit=limit, keyword=keyword)
            nodes = find_nodes(session, tenant_id, app_id, found.agents) if app_id else {}

        def places(agent: AgentDescription) -> dict[str, Any]:
            mine = nodes.get(agent.id, [])
            return {
                "is_in_current_workflow": bool(mine),
                "in_current_workflow_count": len(mine),
                "existing_node_ids": mine,
            }

        return found.as_json(places)

    def get_agent(self, tenant_id: str, agent_id: str) -> AgentDescription:
        """An agent, archived ones too. Raises AgentNotFound."""
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
        """Change how an agent is called and looks. It makes no version.

        Raises AgentNotFound, AgentArchived, AgentNameTaken and PreconditionFailed.
        """
        with self._database.transaction() as session:
            agent = lock_for_change(session, tenant_id, agent_id, if_match=if_match)
            if wanted.model_fields_set:
                for key in wanted.model_fields_set:
                    setattr(agent, key, getattr(wanted, key))
                agent.updated_by, agent.updated_at = changed_by, datetime.now(UTC)
                with name_claimed():
                    session.flush()
            return describe_agent(session, agent)

    def archive_agent(
        self, tenant_id: str, agent_id: str, *, archived_by: str | None, if_match: Collection[str] | None = None
    ) -> None:
        """Take an agent out of the roster, for good; again is no error. Raises AgentNotFound and PreconditionFailed."""
        with self._database.transaction() as session:
            try:
                agent = lock_for_change(session, tenant_id, agent_id, if_match=if_match)
            except AgentArchived:
                return
            agent.status = AgentStatus.ARCHIVED
            agent.archived_by = agent.updated_by = archived_by
            agent.archived_at = datetime.now(UTC)

    def has_agents(self, tenant_id: str) -> bool:
        """Whether the tenant has or had an agent."""
        with self._database.reading() as session:
            return session.scalar(select(Agent.id).where(Agent.tenant_id == tenant_id).limit(1)) is not None


def add_agent(
    session: Session,
    tenant_id: str,
    wanted: CreateAgentRequest,
    *,
    agent_id: str,
    source: AgentSource,
    created_by: str | None,
    operation: RevisionOperation = RevisionOperation.CREATE_VERSION,
) -> Agent:
    """Store an agent with its first version. Raises AgentNameTaken."""
    agent = Agent(
        id=agent_id,
        tenant_id=tenant_id,
        scope=AgentScope.ROSTER,
        source=source,
        created_by=created_by,
        updated_by=created_by,
        **wanted.model_dump(exclude={"agent_soul", "version_note"}),
    )
    session.add(agent)
    with name_claimed():
        session.flush()
    write_version(
        session,
        agent,
        (wanted.agent_soul or AgentSoulConfig()).as_json(),
        operation=operation,
        previous_snapshot_id=None,
        created_by=created_by,
        version_note=wanted.version_note,
    )
    return agent


@contextmanager
def name_claimed() -> Iterator[None]:
    """Turn the refusal of a name that another agent has into AgentNameTaken."""
    try:
        yield
    except IntegrityError as error:
        if UNIQUE_NAME not in str(error.orig):
            raise
        raise AgentNameTaken from None
