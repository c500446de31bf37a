"""The one writer of agents: all that creates, changes, saves, restores or archives one does it through here.

An agent that is passed to these functions is new in this transaction, or locked by ``lock_agent``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from errors import AgentNameTaken
from models import Agent, AgentConfigRevision, AgentConfigSnapshot
from models.agents import NAME_LENGTH
from models.enums import AgentScope, AgentSource, AgentStatus, IconType, RevisionOperation
from runtime.protocol.ids import new_id
from services.database_engines import wait_alone
from services.souls.digest import DIGEST_PREFIX, digest_of

UNIQUE_NAME = "roster_unique_name"
"""The name of the unique constraint, which occurs in every database's error for a name that is taken."""

COMMON_LENGTH = NAME_LENGTH - 10
"""The characters that are kept of a long name to which a number is added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgent:
    """An agent to be created. Its first version is added afterwards."""

    id: str = field(default_factory=new_id)
    name: str
    scope: AgentScope
    source: AgentSource
    description: str = ""
    icon_type: IconType | None = None
    icon: str | None = None
    icon_background: str | None = None
    app_id: str | None = None
    workflow_id: str | None = None
    workflow_node_id: str | None = None


def add_agent(session: Session, tenant_id: str, new: NewAgent, *, actor: str | None) -> Agent:
    """Stores an agent, still without a version. Raises AgentNameTaken."""
    agent = Agent(tenant_id=tenant_id, created_by=actor, updated_by=actor, **asdict(new))
    session.add(agent)
    with _name_claimed():
        session.flush()
    return agent


def change_agent(session: Session, agent: Agent, changes: Mapping[str, Any], *, actor: str | None) -> None:
    """Changes the name, description or looks of an agent. Raises AgentNameTaken."""
    for name, value in changes.items():
        setattr(agent, name, value)
    agent.updated_by, agent.updated_at = actor, datetime.now(UTC)
    with _name_claimed():
        session.flush()


def archive_agent(agent: Agent, *, actor: str | None) -> None:
    """Archives an agent for good. If it is archived already, nothing happens."""
    if agent.status is AgentStatus.ACTIVE:
        agent.status = AgentStatus.ARCHIVED
        agent.archived_by = agent.updated_by = actor
        agent.archived_at = datetime.now(UTC)


def free_name(session: Session, tenant_id: str, name: str) -> str:
    """Returns the name if no active agent of the tenant's roster has it, else the name with the first free number.

    Waits for others that look for a free name in the same tenant, so that each sees what the one before has taken.
    """
    wait_alone(session, tenant_id, "agent names")
    begins_alike = Agent.roster_unique_name.startswith(name[:COMMON_LENGTH], autoescape=True)
    names = select(Agent.roster_unique_name).where(Agent.tenant_id == tenant_id, begins_alike)
    taken = set(session.scalars(names))
    candidates = (name if number == 1 else f"{name[:COMMON_LENGTH]} {number}" for number in count(1))
    return next(candidate for candidate in candidates if candidate not in taken)


def write_version(
    session: Session,
    agent: Agent,
    soul_json: Mapping[str, Any],
    *,
    operation: RevisionOperation,
    actor: str | None,
    previous_id: str | None = None,
    summary: str | None = None,
    version_note: str | None = None,
    version_id: str | None = None,
) -> AgentConfigSnapshot:
    """Stores the next version of an agent with its revision, and makes it the active one.

    ``soul_json`` is a checked Soul as JSON, ``version_id`` the id for the version. The revision names ``previous_id``,
    or else the active version, as the previous one.
    """
    session.flush()  # the database needs the row of a new agent before its version
    version = AgentConfigSnapshot(
        id=version_id or new_id(),
        tenant_id=agent.tenant_id,
        agent_id=agent.id,
        version=_highest(session, agent, AgentConfigSnapshot.version) + 1,
        config_snapshot=dict(soul_json),
        digest=digest_of(soul_json).removeprefix(DIGEST_PREFIX),
        summary=summary,
        version_note=version_note,
        created_by=actor,
    )
    session.add(version)
    session.flush()
    notes = {"summary": summary, "version_note": version_note}
    _activate(session, agent, version, operation, actor, previous_id=previous_id, **notes)
    return version


def restore_version(session: Session, agent: Agent, version: AgentConfigSnapshot, *, actor: str | None) -> None:
    """Makes a version of the agent the active one again."""
    _activate(session, agent, version, RevisionOperation.RESTORE_VERSION, actor)


def _activate(
    session: Session,
    agent: Agent,
    version: AgentConfigSnapshot,
    operation: RevisionOperation,
    actor: str | None,
    *,
    previous_id: str | None = None,
    **notes: str | None,
) -> None:
    """Stores the next revision of an agent, and makes its version the active one."""
    session.add(
        AgentConfigRevision(
            tenant_id=agent.tenant_id,
            agent_id=agent.id,
            previous_snapshot_id=previous_id or agent.active_config_snapshot_id,
            current_snapshot_id=version.id,
            revision=_highest(session, agent, AgentConfigRevision.revision) + 1,
            operation=operation,
            created_by=actor,
            **notes,
        )
    )
    agent.active_config_snapshot_id = version.id
    agent.updated_by = actor
    session.flush()


def _highest(session: Session, agent: Agent, column: InstrumentedAttribute[int]) -> int:
    table = column.class_
    mine = (table.tenant_id == agent.tenant_id, table.agent_id == agent.id)
    return session.scalar(select(func.max(column)).where(*mine)) or 0


@contextmanager
def _name_claimed() -> Iterator[None]:
    """Turns the database's refusal of a name that another agent has into AgentNameTaken."""
    try:
        yield
    except IntegrityError as error:
        if UNIQUE_NAME not in str(error.orig):
            raise
        raise AgentNameTaken from None
