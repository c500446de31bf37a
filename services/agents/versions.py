"""The one writer of versions and of history: whoever saves or restores an agent does it through here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from errors import AgentNotFound
from models import Agent, AgentConfigRevision, AgentConfigSnapshot
from models.enums import RevisionOperation
from runtime.protocol.ids import is_id, new_id
from services.souls.digest import DIGEST_PREFIX, digest_of


def lock_agent(session: Session, tenant_id: str, agent_id: str) -> Agent:
    """The agent as it is now, whatever its scope and status, which nobody else changes until the transaction ends.

    Raises AgentNotFound.
    """
    if not is_id(agent_id):
        raise AgentNotFound
    wanted = select(Agent).where(Agent.id == agent_id, Agent.tenant_id == tenant_id).with_for_update()
    agent = session.scalar(wanted.execution_options(populate_existing=True))
    if agent is None:
        raise AgentNotFound
    return agent


def write_version(
    session: Session,
    agent: Agent,
    soul_json: Mapping[str, Any],
    *,
    operation: RevisionOperation,
    previous_snapshot_id: str | None,
    created_by: str | None,
    summary: str | None = None,
    version_note: str | None = None,
    snapshot_id: str | None = None,
) -> AgentConfigSnapshot:
    """Store the next version of an agent and its step of history, and make it the active one.

    The agent must be new in this transaction, or locked by ``lock_agent``. ``soul_json`` is a checked Soul as JSON,
    ``snapshot_id`` the id that the version is to have.
    """
    session.flush()  # a new agent must be there before its version
    snapshot = AgentConfigSnapshot(
        id=snapshot_id or new_id(),
        tenant_id=agent.tenant_id,
        agent_id=agent.id,
        version=_highest_version(session, agent) + 1,
        config_snapshot=dict(soul_json),
        digest=digest_of(soul_json).removeprefix(DIGEST_PREFIX),
        summary=summary,
        version_note=version_note,
        created_by=created_by,
    )
    session.add(snapshot)
    session.flush()
    write_revision(
        session,
        agent,
        operation=operation,
        previous_snapshot_id=previous_snapshot_id,
        current_snapshot_id=snapshot.id,
        created_by=created_by,
        summary=summary,
        version_note=version_note,
    )
    return snapshot


def write_revision(
    session: Session,
    agent: Agent,
    *,
    operation: RevisionOperation,
    previous_snapshot_id: str | None,
    current_snapshot_id: str,
    created_by: str | None,
    summary: str | None = None,
    version_note: str | None = None,
) -> AgentConfigRevision:
    """Store the next step of an agent's history, and make its snapshot the active one. Locked as for a version."""
    revision = AgentConfigRevision(
        tenant_id=agent.tenant_id,
        agent_id=agent.id,
        previous_snapshot_id=previous_snapshot_id,
        current_snapshot_id=current_snapshot_id,
        revision=_highest_revision(session, agent) + 1,
        operation=operation,
        summary=summary,
        version_note=version_note,
        created_by=created_by,
    )
    session.add(revision)
    agent.active_config_snapshot_id = current_snapshot_id
    agent.updated_by = created_by
    session.flush()
    return revision


def _highest_version(session: Session, agent: Agent) -> int:
    mine = (AgentConfigSnapshot.tenant_id == agent.tenant_id, AgentConfigSnapshot.agent_id == agent.id)
    return session.scalar(select(func.max(AgentConfigSnapshot.version)).where(*mine)) or 0


def _highest_revision(session: Session, agent: Agent) -> int:
    mine = (AgentConfigRevision.tenant_id == agent.tenant_id, AgentConfigRevision.agent_id == agent.id)
    return session.scalar(select(func.max(AgentConfigRevision.revision)).where(*mine)) or 0
