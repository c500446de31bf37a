"""Agents that a composer makes."""

from __future__ import annotations

from itertools import count
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Agent
from models.agents import NAME_LENGTH
from models.enums import AgentScope, AgentSource
from services.agents.roster import name_claimed
from services.composer.places import NodePlace, wait_alone
from services.composer.requests import ComposerSaveRequest

UNTITLED = "Untitled Agent"
COMMON_LENGTH = NAME_LENGTH - 10
"""What is left of a long name that gets a number."""

T = TypeVar("T")


def add_roster_agent(
    session: Session,
    tenant_id: str,
    wanted: ComposerSaveRequest,
    *,
    source: AgentSource,
    actor: str | None,
    like: Agent | None = None,
    app_id: str | None = None,
) -> Agent:
    """A new agent of the roster, without a version yet. What the payload leaves open is as in ``like``.

    A name that nobody has chosen and that is taken gets a number. Raises AgentNameTaken for one that was chosen.
    """
    agent = Agent(
        tenant_id=tenant_id,
        name=wanted.new_agent_name or free_name(session, tenant_id, like.name if like else UNTITLED),
        description=_either(wanted.description, like.description if like else None) or "",
        icon_type=_either(wanted.icon_type, like.icon_type if like else None),
        icon=_either(wanted.icon, like.icon if like else None),
        icon_background=_either(wanted.icon_background, like.icon_background if like else None),
        scope=AgentScope.ROSTER,
        source=source,
        app_id=app_id,
        created_by=actor,
        updated_by=actor,
    )
    session.add(agent)
    with name_claimed():
        session.flush()
    return agent


def free_name(session: Session, tenant_id: str, name: str) -> str:
    """The name if no active agent of the tenant's roster has it, and else with the first free number behind it.

    Waits for others who look for one in the same tenant: each sees what the one before has taken.
    """
    wait_alone(session, tenant_id, "agent names")
    taken = set(
        session.scalars(
            select(Agent.roster_unique_name).where(
                Agent.tenant_id == tenant_id, Agent.roster_unique_name.startswith(name[:COMMON_LENGTH], autoescape=True)
            )
        )
    )
    candidates = (_numbered(name, number) for number in count(1))
    return next(candidate for candidate in candidates if candidate not in taken)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name[:COMMON_LENGTH]} {number}"


def add_inline_agent(session: Session, place: NodePlace, *, actor: str | None) -> Agent:
    """A new agent of one node alone, without a version yet."""
    agent = Agent(
        tenant_id=place.tenant_id,
        name=f"Workflow Agent {place.node_id}"[:NAME_LENGTH],
        scope=AgentScope.WORKFLOW_ONLY,
        source=AgentSource.WORKFLOW,
        app_id=place.app_id,
        workflow_id=place.workflow_id,
        workflow_node_id=place.node_id,
        created_by=actor,
        updated_by=actor,
    )
    session.add(agent)
    session.flush()
    return agent


def _either(given: T | None, default: T | None) -> T | None:
    return default if given is None else given
