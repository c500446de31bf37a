"""Finds the agents that need a credential."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, Text, cast, select, union
from sqlalchemy.orm import Session

from models import Agent, AgentConfigSnapshot, AgentTag, WorkflowAgentNodeBinding
from models.enums import AgentStatus
from services.souls import AgentSoulConfig, credential_names

READ_AT_ONCE = 100


def agents_that_need(session: Session, tenant_id: str, name: str, *, at_most: int) -> list[str]:
    """Returns ids of active agents of which a version in use names the credential.

    In use are the active version, those with a tag, and those that a node of a workflow is bound to.
    """
    agents: dict[str, None] = {}
    for agent_id, soul in session.execute(_candidates(tenant_id, name)):
        if agent_id not in agents and name in credential_names(AgentSoulConfig.from_stored(soul)):
            agents[agent_id] = None
            if len(agents) == at_most:
                break
    return list(agents)


def _candidates(tenant_id: str, name: str) -> Select[str, Any]:
    """Returns a query for agents and their versions in use whose text contains the name.

    The database finds those quickly. It begins with the versions in use, because a tenant has many more that are not.
    """
    used = union(
        select(Agent.active_config_snapshot_id.label("id")).where(Agent.tenant_id == tenant_id),
        select(AgentTag.snapshot_id).where(AgentTag.tenant_id == tenant_id),
        select(WorkflowAgentNodeBinding.current_snapshot_id).where(WorkflowAgentNodeBinding.tenant_id == tenant_id),
    ).subquery()
    text = cast(AgentConfigSnapshot.config_snapshot, Text)
    return (
        select(Agent.id, AgentConfigSnapshot.config_snapshot)
        .select_from(used)
        .join(AgentConfigSnapshot, AgentConfigSnapshot.id == used.c.id)
        .join(Agent, Agent.id == AgentConfigSnapshot.agent_id)
        .where(
            Agent.tenant_id == tenant_id,
            Agent.status == AgentStatus.ACTIVE,
            text.contains(f'"{name}"', autoescape=True),
        )
        .execution_options(yield_per=READ_AT_ONCE)
    )
