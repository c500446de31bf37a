"""Finds agents and their versions, within their tenant only."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from errors import AgentArchived, AgentNotFound, AgentVersionNotFound, PreconditionFailed
from models import Agent, AgentConfigSnapshot
from models.enums import AgentScope, AgentStatus
from runtime.protocol.ids import is_id
from services.agents.descriptions import AgentDescription, VersionDescription


def find_agent(session: Session, tenant_id: str, agent_id: str) -> Agent:
    """Returns an agent of the roster, archived or not.

    Raises AgentNotFound, also for the agent of a workflow's node.
    """
    wanted = select(Agent).where(Agent.id == agent_id, Agent.tenant_id == tenant_id, Agent.scope == AgentScope.ROSTER)
    agent = session.scalar(wanted) if is_id(agent_id) else None
    if agent is None:
        raise AgentNotFound
    return agent


def lock_agent(session: Session, tenant_id: str, agent_id: str) -> Agent:
    """Locks an agent of any scope and status until the transaction ends, and returns its current row.

    Raises AgentNotFound.
    """
    if not is_id(agent_id):
        raise AgentNotFound
    wanted = select(Agent).where(Agent.id == agent_id, Agent.tenant_id == tenant_id).with_for_update()
    agent = session.scalar(wanted.execution_options(populate_existing=True))
    if agent is None:
        raise AgentNotFound
    return agent


def lock_for_change(
    session: Session, tenant_id: str, agent_id: str, *, if_match: Collection[str] | None = None
) -> Agent:
    """Locks an active agent of the roster until the transaction ends, and returns it.

    ``if_match`` are ids one of which must be its active version's. Raises AgentNotFound, AgentArchived and
    PreconditionFailed.
    """
    agent = lock_agent(session, tenant_id, agent_id)
    if agent.scope is not AgentScope.ROSTER:
        raise AgentNotFound
    require_active(agent)
    if if_match is not None and agent.active_config_snapshot_id not in if_match:
        raise PreconditionFailed
    return agent


def require_active(agent: Agent) -> None:
    """Raises AgentArchived for an archived agent."""
    if agent.status is AgentStatus.ARCHIVED:
        raise AgentArchived


def find_version(session: Session, agent: Agent, version_id: str | None) -> AgentConfigSnapshot:
    """Returns a version of the agent. Raises AgentVersionNotFound, also for a version of another agent."""
    wanted = select(AgentConfigSnapshot).where(
        AgentConfigSnapshot.id == version_id,
        AgentConfigSnapshot.agent_id == agent.id,
        AgentConfigSnapshot.tenant_id == agent.tenant_id,
    )
    version = session.scalar(wanted) if version_id is not None and is_id(version_id) else None
    if version is None:
        raise AgentVersionNotFound
    return version


def describe_agent(session: Session, agent: Agent) -> AgentDescription:
    return describe_agents(session, agent.tenant_id, [agent])[0]


def describe_agents(session: Session, tenant_id: str, agents: Iterable[Agent]) -> list[AgentDescription]:
    """Describes agents of one tenant with their active versions, by one query for all of them."""
    agents = list(agents)
    ids = [agent.active_config_snapshot_id for agent in agents if agent.active_config_snapshot_id is not None]
    # By their ids alone: with the tenant as a condition too, SQLite would read all versions of the tenant.
    wanted = VersionDescription.select().add_columns(AgentConfigSnapshot.tenant_id)
    rows: Iterable[Any] = session.execute(wanted.where(AgentConfigSnapshot.id.in_(ids))) if ids else ()
    active = {row.id: VersionDescription.of(row) for row in rows if row.tenant_id == tenant_id}
    return [AgentDescription.of(agent, active.get(agent.active_config_snapshot_id or "")) for agent in agents]
