"""Creates agents for composers."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy.orm import Session

from models import Agent
from models.agents import NAME_LENGTH
from models.enums import AgentScope, AgentSource
from services.agents.writer import NewAgent, add_agent, free_name
from services.composer.places import NodePlace
from services.composer.requests import ComposerSaveRequest

UNTITLED = "Untitled Agent"

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
    """Adds an agent to the roster, still without a version. What the payload leaves open is as in ``like``.

    A name that the user has not chosen and that is taken gets a number. Raises AgentNameTaken for one that they have
    chosen.
    """
    new = NewAgent(
        name=wanted.new_agent_name or free_name(session, tenant_id, like.name if like else UNTITLED),
        description=_either(wanted.description, like.description if like else None) or "",
        icon_type=_either(wanted.icon_type, like.icon_type if like else None),
        icon=_either(wanted.icon, like.icon if like else None),
        icon_background=_either(wanted.icon_background, like.icon_background if like else None),
        scope=AgentScope.ROSTER,
        source=source,
        app_id=app_id,
    )
    return add_agent(session, tenant_id, new, actor=actor)


def add_inline_agent(session: Session, place: NodePlace, *, actor: str | None) -> Agent:
    """Adds an agent that belongs to one node alone, still without a version."""
    new = NewAgent(
        name=f"Workflow Agent {place.node_id}"[:NAME_LENGTH],
        scope=AgentScope.WORKFLOW_ONLY,
        source=AgentSource.WORKFLOW,
        app_id=place.app_id,
        workflow_id=place.workflow_id,
        workflow_node_id=place.node_id,
    )
    return add_agent(session, place.tenant_id, new, actor=actor)


def _either(given: T | None, default: T | None) -> T | None:
    return default if given is None else given
