"""What a Soul needs before anything may run it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from errors import AgentModelNotConfigured, AgentToolNameDuplicated
from services.souls.node_job import WorkflowNodeJobConfig, contact_problems, node_job_publish_problems
from services.souls.problems import Problem
from services.souls.soul import AgentSoulConfig, ModelConfig


def require_model(soul: AgentSoulConfig) -> ModelConfig:
    """The model of the Soul. Raises AgentModelNotConfigured."""
    if soul.model is None:
        raise AgentModelNotConfigured
    return soul.model


def check_tool_names(soul: AgentSoulConfig) -> None:
    """Raise AgentToolNameDuplicated when the model could not tell two enabled tools apart."""
    for problem in _tool_problems(soul):
        raise AgentToolNameDuplicated(problem.message)


def publish_problems(
    soul: AgentSoulConfig, job: WorkflowNodeJobConfig | None = None, *, tenant_id: str
) -> list[Problem]:
    """What keeps an agent, or a node with it, from being published, as far as no graph and no table is needed.

    Places begin with ``agent_soul`` and ``node_job``. That bindings and files exist, and that references point to
    earlier nodes, is for those to check who know the graph.

    Raises AgentModelNotConfigured and AgentToolNameDuplicated.
    """
    require_model(soul)
    check_tool_names(soul)
    return draft_problems(soul, job, tenant_id=tenant_id)


def draft_problems(
    soul: AgentSoulConfig | None, job: WorkflowNodeJobConfig | None = None, *, tenant_id: str
) -> list[Problem]:
    """The same of a draft, which may be without a model and without one of its parts. Raises nothing."""
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
