"""The bindings of nodes: which agent a node has, at which version, and how many other nodes have the same."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from errors import AgentNotFound, AgentVersionConflict, AgentVersionNotFound, InvalidComposer
from models import Agent, AgentConfigSnapshot, WorkflowAgentNodeBinding
from models.enums import AgentScope, BindingType
from models.workflow_agent_node_bindings import DRAFT
from runtime.protocol.ids import is_id
from services.agents.lookup import find_version, lock_agent, require_active
from services.composer.places import NodePlace
from services.composer.requests import BindingChoice
from services.souls import WorkflowNodeJobConfig

MAX_BINDINGS_TOLD = 500


def find_draft(session: Session, place: NodePlace) -> WorkflowAgentNodeBinding | None:
    """Returns the binding of a node in a draft. Raises InvalidComposer when the workflow belongs to another app."""
    wanted = select(WorkflowAgentNodeBinding).where(
        WorkflowAgentNodeBinding.tenant_id == place.tenant_id,
        WorkflowAgentNodeBinding.workflow_id == place.workflow_id,
        WorkflowAgentNodeBinding.workflow_version == DRAFT,
        WorkflowAgentNodeBinding.node_id == place.node_id,
    )
    binding = session.scalar(wanted)
    if binding is not None and binding.app_id != place.app_id:
        raise InvalidComposer("the workflow belongs to another app")
    return binding


def check_revision(seen_id: str | None, current_id: str | None) -> None:
    """Raises AgentVersionConflict when the version that the caller has seen is no longer the current one."""
    if seen_id is not None and seen_id != current_id:
        raise AgentVersionConflict


def bind(
    session: Session,
    place: NodePlace,
    binding: WorkflowAgentNodeBinding | None,
    agent: Agent,
    snapshot_id: str | None,
    *,
    actor: str | None,
) -> WorkflowAgentNodeBinding:
    """Binds the node to this agent at this version. Its job stays; a new binding has the default job."""
    if binding is None:
        binding = WorkflowAgentNodeBinding(
            tenant_id=place.tenant_id,
            app_id=place.app_id,
            workflow_id=place.workflow_id,
            workflow_version=DRAFT,
            node_id=place.node_id,
            node_job_config=WorkflowNodeJobConfig().as_json(),
            created_by=actor,
        )
        session.add(binding)
    is_inline = agent.scope is AgentScope.WORKFLOW_ONLY
    binding.binding_type = BindingType.INLINE_AGENT if is_inline else BindingType.ROSTER_AGENT
    binding.agent_id = agent.id
    binding.current_snapshot_id = snapshot_id
    binding.updated_by = actor
    return binding


def bind_as_chosen(
    session: Session,
    place: NodePlace,
    binding: WorkflowAgentNodeBinding | None,
    choice: BindingChoice | None,
    *,
    actor: str | None,
) -> WorkflowAgentNodeBinding | None:
    """Binds the node to the agent that the payload names, if any: at the version named, or at its active one.

    Raises AgentNotFound, also for an agent that belongs to another node, AgentArchived, AgentVersionNotFound, and
    InvalidComposer when the agent is not of the kind that the payload says.
    """
    if choice is None or choice.agent_id is None or _is_as_chosen(binding, choice):
        return binding
    agent = lock_agent(session, place.tenant_id, choice.agent_id)
    if agent.scope is AgentScope.WORKFLOW_ONLY and (binding is None or binding.agent_id != agent.id):
        raise AgentNotFound
    is_inline = agent.scope is AgentScope.WORKFLOW_ONLY
    if choice.binding_type is not None and (choice.binding_type is BindingType.INLINE_AGENT) != is_inline:
        raise InvalidComposer(f"the agent is no {choice.binding_type.value}")
    require_active(agent)
    version = find_version(session, agent, choice.current_snapshot_id or agent.active_config_snapshot_id)
    return bind(session, place, binding, agent, version.id, actor=actor)


def _is_as_chosen(binding: WorkflowAgentNodeBinding | None, choice: BindingChoice) -> bool:
    """Whether a client has only sent back the binding it was given."""
    if binding is None:
        return False
    return (binding.agent_id, binding.current_snapshot_id) == (choice.agent_id, choice.current_snapshot_id)


def is_bound(session: Session, agent: Agent) -> bool:
    """Whether any node, of a draft or of a published workflow, is bound to the agent."""
    of_agent = select(WorkflowAgentNodeBinding.id).where(
        WorkflowAgentNodeBinding.tenant_id == agent.tenant_id, WorkflowAgentNodeBinding.agent_id == agent.id
    )
    return session.scalar(of_agent.limit(1)) is not None


def impact_of(session: Session, tenant_id: str, snapshot_id: str) -> dict[str, Any]:
    """Returns the nodes that run a version, in drafts and published workflows: how many, and the names of some."""
    mine = (
        WorkflowAgentNodeBinding.tenant_id == tenant_id,
        WorkflowAgentNodeBinding.current_snapshot_id == snapshot_id,
    )
    columns = (
        WorkflowAgentNodeBinding.app_id,
        WorkflowAgentNodeBinding.workflow_id,
        WorkflowAgentNodeBinding.node_id,
    )
    named = select(*columns).where(*mine).order_by(WorkflowAgentNodeBinding.id).limit(MAX_BINDINGS_TOLD)
    return {
        "current_snapshot_id": snapshot_id,
        "workflow_node_count": session.scalar(select(func.count()).select_from(WorkflowAgentNodeBinding).where(*mine)),
        "bindings": [dict(row._mapping) for row in session.execute(named)],
    }


def require_version(session: Session, tenant_id: str, snapshot_id: str) -> None:
    """Raises AgentVersionNotFound unless the tenant has such a version."""
    wanted = select(AgentConfigSnapshot.id).where(
        AgentConfigSnapshot.id == snapshot_id, AgentConfigSnapshot.tenant_id == tenant_id
    )
    if not is_id(snapshot_id) or session.scalar(wanted) is None:
        raise AgentVersionNotFound
