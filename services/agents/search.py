"""Searches the roster for agents, page by page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from models import Agent, WorkflowAgentNodeBinding
from models.enums import AgentScope, AgentStatus
from services.agents.descriptions import AgentDescription
from services.agents.lookup import describe_agents
from services.pages import NumberedPage, counted, window

DRAFT = "draft"
RARE_NAMES = 500
"""Up to this many are looked up by name; of more, the last changed ones soon fill a page."""


def find_page(
    session: Session, tenant_id: str, *, page: int, limit: int, keyword: str | None
) -> NumberedPage[AgentDescription]:
    """Returns active agents of the roster whose names contain the keyword, the most recently changed first."""
    mine: list[ColumnElement[bool]] = [
        Agent.tenant_id == tenant_id,
        Agent.scope == AgentScope.ROSTER,
        Agent.status == AgentStatus.ACTIVE,
    ]
    # The name is a condition twice, here as the unique one: the count then needs nothing but that index.
    countable = [Agent.tenant_id == tenant_id, Agent.roster_unique_name.is_not(None)]
    names: Sequence[str | None] | None = None
    if keyword:
        countable.append(_holds(Agent.roster_unique_name, keyword))
        names = _rare_names(session, countable)
        mine.append(_holds(Agent.name, keyword) if names is None else Agent.roster_unique_name.in_(names))
    total = counted(session, Agent, *countable) if names is None else len(names)
    order = (Agent.updated_at.desc(), Agent.id.desc())
    rows = session.scalars(window(select(Agent).where(*mine).order_by(*order), page=page, limit=limit))
    return NumberedPage.of(describe_agents(session, tenant_id, rows), page=page, limit=limit, total=total)


def find_nodes(
    session: Session, tenant_id: str, app_id: str, agents: Sequence[AgentDescription]
) -> Mapping[str | None, list[str]]:
    """Returns, by agent, the nodes of an app's drafts to which it is bound."""
    wanted = (
        select(WorkflowAgentNodeBinding.agent_id, WorkflowAgentNodeBinding.node_id)
        .where(
            WorkflowAgentNodeBinding.tenant_id == tenant_id,
            WorkflowAgentNodeBinding.app_id == app_id,
            WorkflowAgentNodeBinding.workflow_version == DRAFT,
            WorkflowAgentNodeBinding.agent_id.in_([agent.id for agent in agents]),
        )
        .order_by(WorkflowAgentNodeBinding.node_id)
    )
    nodes: dict[str | None, list[str]] = defaultdict(list)
    for agent_id, node_id in session.execute(wanted):
        nodes[agent_id].append(node_id)
    return nodes


def _rare_names(session: Session, countable: list[ColumnElement[bool]]) -> Sequence[str | None] | None:
    """Returns the names that match, or None when there are many.

    They are read from their index alone. For rare names PostgreSQL would otherwise read the whole table.
    """
    names = session.scalars(select(Agent.roster_unique_name).where(*countable).limit(RARE_NAMES + 1)).all()
    return names if len(names) <= RARE_NAMES else None


def _holds(column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None], keyword: str) -> ColumnElement[bool]:
    """Returns the condition that a text contains the keyword literally, in upper or lower case."""
    if keyword.isascii():
        return column.icontains(keyword, autoescape=True)
    # Beyond ASCII, the letters that LIKE takes for the same depend on the database and its locale; this is alike in
    # all.
    return column.regexp_match("".join(map(_either_case, keyword)))


def _either_case(character: str) -> str:
    cases = sorted({form for form in (character, character.lower(), character.upper()) if len(form) == 1})
    if len(cases) > 1:
        return f"[{''.join(cases)}]"
    return character if character.isalnum() or not character.isascii() else f"\\{character}"
