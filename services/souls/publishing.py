"""Checks what a Soul needs before it can run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from errors import AgentModelNotConfigured, AgentToolNameDuplicated
from services.souls.node_job import WorkflowNodeJobConfig, contact_problems, node_job_publish_problems
from services.souls.problems import Problem
from services.souls.soul import AgentSoulConfig, ModelConfig


def require_model(soul: AgentSoulConfig) -> ModelConfig:
    """Returns the model of the Soul. Raises AgentModelNotConfigured."""
    if soul.model is None:
        raise AgentModelNotConfigured
    return soul.model


def check_tool_names(soul: AgentSoulConfig) -> None:
    """Raises AgentToolNameDuplicated when two enabled tools have the same name for the model."""
    for problem in _tool_problems(soul):
        raise AgentToolNameDuplicated(problem.message)


def publish_problems(
    soul: AgentSoulConfig, job: WorkflowNodeJobConfig | None = None, *, tenant_id: str
) -> list[Problem]:
    """Returns what keeps an agent, or a node with it, from being published, without looking at a graph or a table.

    Places begin with ``agent_soul`` and ``node_job``. Whether bindings and files exist, and whether references point to
    earlier nodes, must be checked by those that know the graph.

    Raises AgentModelNotConfigured and AgentToolNameDuplicated.
    """
    require_model(soul)
    check_tool_names(soul)
    return draft_problems(soul, job, tenant_id=tenant_id)


def draft_problems(
    soul: AgentSoulConfig | None, job: WorkflowNodeJobConfig | None = None, *, tenant_id: str
) -> list[Problem]:
    """Returns the same for a draft, which may lack a model and one of its parts. Raises nothing."""
    of_soul: Iterable[Problem] = ()
    if soul is not None:
        people = contact_problems(soul.human.contacts, "human", "contacts", tenant_id=tenant_id)
        of_soul = (*_tool_problems(soul), *people)
    of_job = node_job_publish_problems(job, tenant_id=tenant_id) if job is not None else ()
    return [*_below("agent_soul", of_soul), *_below("node_job", of_job)]


def _tool_problems(soul: AgentSoulConfig) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, tool in enumerate(soul.tools.dify_tools):
        if tool.enabled and tool.tool_name in seen:
            yield Problem(
                ("tools", "dify_tools", index, "tool_name"), f"the tool name '{tool.tool_name}' is used twice"
            )
        if tool.enabled:
            seen.add(tool.tool_name)


def _below(part: str, problems: Iterable[Problem]) -> Iterator[Problem]:
    return (Problem((part, *problem.loc), problem.message, problem.kind) for problem in problems)
