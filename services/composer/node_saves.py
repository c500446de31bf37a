"""Saves nodes: what each strategy does to versions, history, agents and the node itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from errors import AgentVersionNotFound, InvalidComposer
from models import Agent, AgentConfigSnapshot, WorkflowAgentNodeBinding
from models.enums import AgentScope, AgentSource, RevisionOperation
from services.agents.lookup import find_version, lock_agent, require_active
from services.agents.writer import archive_agent, write_version
from services.composer.bindings import bind, bind_as_chosen, check_revision, find_draft, is_bound
from services.composer.new_agents import add_inline_agent, add_roster_agent
from services.composer.places import NodePlace, take_turn
from services.composer.requests import ComposerSaveRequest, SaveStrategy
from services.souls import AgentSoulConfig, WorkflowNodeJobConfig

OF_APPS = ("app_features", "app_variables")
"""The fields of a Soul that a workflow neither sees nor sets."""


@dataclass(slots=True)
class _Save:
    """One save in progress."""

    session: Session
    place: NodePlace
    wanted: ComposerSaveRequest
    actor: str | None
    binding: WorkflowAgentNodeBinding | None

    def require_binding(self) -> WorkflowAgentNodeBinding:
        if self.binding is None:
            raise InvalidComposer(f"the node has no agent yet, which {self.wanted.save_strategy.value} needs")
        return self.binding

    def lock_bound(self) -> tuple[WorkflowAgentNodeBinding, Agent, AgentConfigSnapshot]:
        """Locks and returns the node's binding, agent and version."""
        binding = self.require_binding()
        if binding.agent_id is None:
            raise AgentVersionNotFound
        agent = lock_agent(self.session, self.place.tenant_id, binding.agent_id)
        return binding, agent, find_version(self.session, agent, binding.current_snapshot_id)

    def write(
        self, agent: Agent, soul: Mapping[str, Any], operation: RevisionOperation, *, previous_id: str | None = None
    ) -> AgentConfigSnapshot:
        return write_version(
            self.session,
            agent,
            soul,
            operation=operation,
            actor=self.actor,
            previous_id=previous_id,
            version_note=self.wanted.version_note,
        )

    def bind(self, agent: Agent) -> WorkflowAgentNodeBinding:
        """Binds the node to the agent at its active version."""
        snapshot_id = agent.active_config_snapshot_id
        return bind(self.session, self.place, self.binding, agent, snapshot_id, actor=self.actor)


def save_node(
    session: Session, place: NodePlace, wanted: ComposerSaveRequest, *, actor: str | None
) -> WorkflowAgentNodeBinding:
    """Saves a node, in a transaction of its own.

    Raises AgentVersionConflict when ``client_revision_id`` is no longer the current version; AgentNotFound,
    AgentVersionNotFound and AgentArchived for the agent that is bound or named; AgentNameTaken; and InvalidComposer
    when something that the strategy needs is missing.
    """
    take_turn(session, place)
    binding = find_draft(session, place)
    check_revision(wanted.client_revision_id, binding.current_snapshot_id if binding else None)
    binding = bind_as_chosen(session, place, binding, wanted.binding, actor=actor)
    saved = _STRATEGIES[wanted.save_strategy](_Save(session, place, wanted, actor, binding))
    saved.updated_by = actor
    session.flush()
    return saved


def _save_job(save: _Save) -> WorkflowAgentNodeBinding:
    binding = save.binding
    if binding is None:
        agent = add_inline_agent(save.session, save.place, actor=save.actor)
        soul = save.wanted.agent_soul or AgentSoulConfig()
        save.write(agent, soul.as_json(), RevisionOperation.CREATE_VERSION)
        binding = save.bind(agent)
    binding.node_job_config = _job_or_default(save)
    return binding


def _save_current_version(save: _Save) -> WorkflowAgentNodeBinding:
    return _save_bound_agent(save, RevisionOperation.SAVE_CURRENT_VERSION)


def _save_new_version(save: _Save) -> WorkflowAgentNodeBinding:
    return _save_bound_agent(save, RevisionOperation.SAVE_NEW_VERSION)


def _save_bound_agent(save: _Save, operation: RevisionOperation) -> WorkflowAgentNodeBinding:
    """Stores a new version of the node's agent, to which the agent and this node move. Other nodes keep theirs."""
    save.require_binding()
    soul = save.wanted.require_soul().as_json()
    binding, agent, current = save.lock_bound()
    require_active(agent)
    kept = {key: current.config_snapshot[key] for key in OF_APPS if key in current.config_snapshot}
    version = save.write(agent, {**soul, **kept}, operation, previous_id=current.id)
    binding.current_snapshot_id = version.id
    _replace_job_if_given(save, binding)
    return binding


def _save_as_new_agent(save: _Save) -> WorkflowAgentNodeBinding:
    soul = save.wanted.require_soul().as_json()
    agent = add_roster_agent(
        save.session, save.place.tenant_id, save.wanted, source=AgentSource.WORKFLOW, actor=save.actor
    )
    save.write(agent, soul, RevisionOperation.SAVE_NEW_AGENT)
    binding = save.bind(agent)
    binding.node_job_config = _job_or_default(save)
    return binding


def _save_to_roster(save: _Save) -> WorkflowAgentNodeBinding:
    _, source, current = save.lock_bound()
    given = save.wanted.agent_soul
    agent = add_roster_agent(
        save.session, save.place.tenant_id, save.wanted, source=AgentSource.WORKFLOW, actor=save.actor, like=source
    )
    soul = current.config_snapshot if given is None else given.as_json()
    save.write(agent, soul, RevisionOperation.SAVE_TO_ROSTER)
    binding = save.bind(agent)
    _replace_job_if_given(save, binding)
    save.session.flush()
    if source.scope is AgentScope.WORKFLOW_ONLY and not is_bound(save.session, source):
        archive_agent(source, actor=save.actor)
    return binding


def _job_or_default(save: _Save) -> dict[str, Any]:
    return (save.wanted.node_job or WorkflowNodeJobConfig()).as_json()


def _replace_job_if_given(save: _Save, binding: WorkflowAgentNodeBinding) -> None:
    if save.wanted.node_job is not None:
        binding.node_job_config = save.wanted.node_job.as_json()


_STRATEGIES: Mapping[SaveStrategy, Callable[[_Save], WorkflowAgentNodeBinding]] = {
    SaveStrategy.NODE_JOB_ONLY: _save_job,
    SaveStrategy.SAVE_TO_CURRENT_VERSION: _save_current_version,
    SaveStrategy.SAVE_AS_NEW_VERSION: _save_new_version,
    SaveStrategy.SAVE_AS_NEW_AGENT: _save_as_new_agent,
    SaveStrategy.SAVE_TO_ROSTER: _save_to_roster,
}
