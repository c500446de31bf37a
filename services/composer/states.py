"""The states of composers: what is stored, and what can be done with it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from errors import AgentNotFound
from models import Agent, AgentConfigSnapshot, WorkflowAgentNodeBinding
from models.enums import AgentScope
from services.agents.descriptions import VersionDescription
from services.agents.lookup import describe_agent, find_version
from services.composer.app_saves import find_app_agent
from services.composer.bindings import find_draft, impact_of
from services.composer.places import AppPlace, NodePlace
from services.composer.requests import ComposerVariant, SaveStrategy
from services.souls import AgentSoulConfig, WorkflowNodeJobConfig

EMPTY_LOCK = {"locked": False, "can_unlock": False, "reason": "workflow_only_empty"}
INLINE_LOCK = {"locked": False, "can_unlock": False, "reason": "workflow_only_agent"}
ROSTER_LOCK = {"locked": True, "can_unlock": True, "reason": "roster_agent_shared_version"}

OPTIONS_OF_NODES = [SaveStrategy.NODE_JOB_ONLY, SaveStrategy.SAVE_TO_ROSTER]
"""The options for a node without an agent, or with one of its own."""
OPTIONS_WITH_ROSTER = [
    SaveStrategy.NODE_JOB_ONLY,
    SaveStrategy.SAVE_TO_CURRENT_VERSION,
    SaveStrategy.SAVE_AS_NEW_VERSION,
    SaveStrategy.SAVE_AS_NEW_AGENT,
]
OPTIONS_OF_APPS = [SaveStrategy.SAVE_TO_CURRENT_VERSION, SaveStrategy.SAVE_AS_NEW_VERSION]

_DECLARED_TYPES = ["string", "number", "object", "array", "boolean", "file"]
_SOUL_CANDIDATES = ("skills_files", "dify_tools", "cli_tools", "knowledge_datasets", "human_contacts")


def node_state(session: Session, place: NodePlace) -> dict[str, Any]:
    """Returns the state of a node's composer; an empty one when the node has no agent yet."""
    binding = find_draft(session, place)
    agent = _bound_agent(session, binding)
    version = _bound_version(session, agent, binding)
    job = WorkflowNodeJobConfig() if binding is None else WorkflowNodeJobConfig.from_stored(binding.node_job_config)
    return {
        "variant": ComposerVariant.WORKFLOW,
        "agent": describe_agent(session, agent).as_json() if agent else None,
        "active_config_snapshot": VersionDescription.of(version).as_json() if version else None,
        "binding": _binding_json(binding) if binding else None,
        "soul_lock": _lock_of(agent) if binding else EMPTY_LOCK,
        "agent_soul": _soul_for_nodes(version),
        "node_job": job.as_json(),
        "effective_declared_outputs": [output.model_dump(mode="json") for output in job.effective_outputs()],
        "save_options": OPTIONS_WITH_ROSTER if _is_of_roster(agent) else OPTIONS_OF_NODES,
        "impact_summary": impact_of(session, place.tenant_id, version.id) if version else None,
        "app_id": place.app_id,
        "workflow_id": place.workflow_id,
        "node_id": place.node_id,
    }


def app_state(session: Session, place: AppPlace) -> dict[str, Any]:
    """Returns the state of an Agent App's composer. Raises AgentNotFound before the first save."""
    agent = find_app_agent(session, place)
    if agent is None:
        raise AgentNotFound
    version = find_version(session, agent, agent.active_config_snapshot_id)
    return {
        "variant": ComposerVariant.AGENT_APP,
        "agent": describe_agent(session, agent).as_json(),
        "active_config_snapshot": VersionDescription.of(version).as_json(),
        "agent_soul": version.config_snapshot,
        "save_options": OPTIONS_OF_APPS,
    }


def candidates(variant: ComposerVariant) -> dict[str, Any]:
    """Returns what a Soul and a node job may refer to. Tools, data sets and people are listed by Dify itself."""
    of_job: dict[str, Any] = {
        "previous_node_outputs": [],
        "declare_output_types": _DECLARED_TYPES,
        "human_contacts": [],
    }
    return {
        "variant": variant,
        "allowed_node_job_candidates": of_job if variant is ComposerVariant.WORKFLOW else {},
        "allowed_soul_candidates": {name: [] for name in _SOUL_CANDIDATES},
    }


def _bound_agent(session: Session, binding: WorkflowAgentNodeBinding | None) -> Agent | None:
    if binding is None or binding.agent_id is None:
        return None
    return session.scalar(select(Agent).where(Agent.id == binding.agent_id, Agent.tenant_id == binding.tenant_id))


def _bound_version(
    session: Session, agent: Agent | None, binding: WorkflowAgentNodeBinding | None
) -> AgentConfigSnapshot | None:
    if agent is None or binding is None or binding.current_snapshot_id is None:
        return None
    return find_version(session, agent, binding.current_snapshot_id)


def _binding_json(binding: WorkflowAgentNodeBinding) -> dict[str, Any]:
    names = ("id", "binding_type", "agent_id", "current_snapshot_id", "workflow_id", "node_id")
    return {name: getattr(binding, name) for name in names}


def _is_of_roster(agent: Agent | None) -> bool:
    return agent is not None and agent.scope is AgentScope.ROSTER


def _lock_of(agent: Agent | None) -> dict[str, Any]:
    return ROSTER_LOCK if _is_of_roster(agent) else INLINE_LOCK


def _soul_for_nodes(version: AgentConfigSnapshot | None) -> dict[str, Any]:
    soul = AgentSoulConfig().as_json() if version is None else version.config_snapshot
    return {**soul, "app_features": {}, "app_variables": []}
