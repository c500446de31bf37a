"""Saves Agent Apps: the first save creates the agent of an app."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Agent
from models.enums import AgentScope, AgentSource, AgentStatus, RevisionOperation
from services.agents.writer import write_version
from services.composer.bindings import check_revision
from services.composer.new_agents import add_roster_agent
from services.composer.places import AppPlace, take_turn
from services.composer.requests import ComposerSaveRequest, SaveStrategy


def find_app_agent(session: Session, place: AppPlace, *, lock: bool = False) -> Agent | None:
    """Returns the active agent of an app, or None; ``lock`` keeps others from changing it in this transaction."""
    wanted = (
        select(Agent)
        .where(
            Agent.tenant_id == place.tenant_id,
            Agent.app_id == place.app_id,
            Agent.scope == AgentScope.ROSTER,
            Agent.status == AgentStatus.ACTIVE,
        )
        .order_by(Agent.created_at.desc(), Agent.id.desc())
        .limit(1)
    )
    return session.scalar(wanted.with_for_update() if lock else wanted)


def save_app(session: Session, place: AppPlace, wanted: ComposerSaveRequest, *, actor: str | None) -> Agent:
    """Saves the agent of an app, in a transaction of its own.

    Raises InvalidComposer without a Soul, AgentVersionConflict when ``client_revision_id`` is no longer the active
    version, and AgentNameTaken.
    """
    soul = wanted.require_soul()
    take_turn(session, place)
    agent = find_app_agent(session, place, lock=True)
    current_id = agent.active_config_snapshot_id if agent else None
    check_revision(wanted.client_revision_id, current_id)
    if agent is None:
        source = AgentSource.AGENT_APP
        agent = add_roster_agent(session, place.tenant_id, wanted, source=source, actor=actor, app_id=place.app_id)
    is_new = current_id is None or wanted.save_strategy is SaveStrategy.SAVE_AS_NEW_VERSION
    write_version(
        session,
        agent,
        soul.as_json(),
        operation=RevisionOperation.SAVE_NEW_VERSION if is_new else RevisionOperation.SAVE_CURRENT_VERSION,
        actor=actor,
        version_note=wanted.version_note,
    )
    return agent
