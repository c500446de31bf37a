"""Which agent a node has, at which version, and how many others have the same."""

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
    """The draft row of a node. Raises InvalidComposer when the workflow is another app's."""
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
    """Raise AgentVersionConflict when the version that the caller has seen is the current one no more."""
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
    """Let the node have this agent at this version. Its job stays, and is the default one at first."""
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
    """Let the node have the agent that the payload names, if it names one: at the version named, or its active one.

    Raises AgentNotFound, also for the own agent of another node, AgentArchived, AgentVersionNotFound, and
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
    """Whether a client has only sent back what it was told."""
    if binding is None:
        return False
    return (binding.agent_id, binding.current_snapshot_id) == (choice.agent_id, choice.current_snapshot_id)


def is_bound(session: Session, agent: Agent) -> bool:
    """Whether any node, of a draft or of a published workflow, has the agent."""
    of_agent = select(WorkflowAgentNodeBinding.id).where(
        WorkflowAgentNodeBinding.tenant_id == agent.tenant_id, WorkflowAgentNodeBinding.agent_id == agent.id
    )
    return session.scalar(of_agent.limit(1)) is not None


def impact_of(session: Session, tenant_id: str, snapshot_id: str) -> dict[str, Any]:
    """The nodes that run on a version, drafts and published ones: all counted, and some of them named."""
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
    """Raise AgentVersionNotFound unless the tenant has such a version."""
    wanted = select(AgentConfigSnapshot.id).where(
        AgentConfigSnapshot.id == snapshot_id, AgentConfigSnapshot.tenant_id == tenant_id
    )
    if not is_id(snapshot_id) or session.scalar(wanted) is None:
        raise AgentVersionNotFound
