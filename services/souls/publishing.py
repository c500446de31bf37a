"""What a Soul needs before anything may run it."""

from __future__ import annotations

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
    seen: set[str] = set()
    for tool in soul.tools.enabled_tools():
        if tool.tool_name in seen:
            raise AgentToolNameDuplicated(f"the tool name '{tool.tool_name}' is used twice")
        seen.add(tool.tool_name)


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
    of_soul = contact_problems(soul.human.contacts, "human", "contacts", tenant_id=tenant_id)
    of_job = node_job_publish_problems(job, tenant_id=tenant_id) if job is not None else []
    return [
        *(Problem(("agent_soul", *problem.loc), problem.message, problem.kind) for problem in of_soul),
        *(Problem(("node_job", *problem.loc), problem.message, problem.kind) for problem in of_job),
    ]
