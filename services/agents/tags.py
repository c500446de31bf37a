"""Tags: names, such as ``stable``, that point to a version of an agent and can be moved to another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from sqlalchemy import select
from sqlalchemy.orm import Session

from errors import AgentTagNotFound
from models import Agent, AgentConfigSnapshot, AgentTag
from runtime.protocol.clock import wire_time
from services.agents.lookup import find_agent, find_version, lock_for_change
from services.agents.requests import TAG_PATTERN
from services.database import Database
from services.souls.problems import Problem, malformed_at


@dataclass(frozen=True, slots=True)
class TagDescription:
    """A tag and the version it points to."""

    tag: str
    version_id: str
    version: int
    updated_at: datetime

    def as_json(self) -> dict[str, Any]:
        return {
            "tag": self.tag,
            "version_id": self.version_id,
            "version": self.version,
            "updated_at": wire_time(self.updated_at),
        }


class TagService:
    """Creates, moves, lists and deletes tags.

    Its methods raise DatabaseUnavailable and AgentNotFound besides the errors they name.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def put_tag(
        self, tenant_id: str, agent_id: str, tag: str, version_id: str, *, updated_by: str | None
    ) -> TagDescription:
        """Creates or moves a tag.

        Raises AgentVersionNotFound, AgentArchived, and MalformedRequest for a name that is not allowed.
        """
        if not TAG_PATTERN.fullmatch(tag):
            _refuse_name()
        with self._database.transaction() as session:
            agent = lock_for_change(session, tenant_id, agent_id)
            version = find_version(session, agent, version_id)
            row = _find(session, agent, tag)
            if row is None:
                row = AgentTag(tenant_id=tenant_id, agent_id=agent.id, tag=tag)
                session.add(row)
            row.snapshot_id, row.updated_by, row.updated_at = version.id, updated_by, datetime.now(UTC)
            return TagDescription(tag, version.id, version.version, row.updated_at)

    def list_tags(self, tenant_id: str, agent_id: str) -> list[TagDescription]:
        """Returns all tags of an agent, by name."""
        with self._database.reading() as session:
            agent = find_agent(session, tenant_id, agent_id)
            rows = session.execute(
                select(AgentTag.tag, AgentTag.snapshot_id, AgentConfigSnapshot.version, AgentTag.updated_at)
                .join(AgentConfigSnapshot, AgentConfigSnapshot.id == AgentTag.snapshot_id)
                .where(AgentTag.tenant_id == tenant_id, AgentTag.agent_id == agent.id)
            )
            return sorted((TagDescription(*row) for row in rows), key=lambda found: found.tag)

    def delete_tag(self, tenant_id: str, agent_id: str, tag: str) -> None:
        """Deletes a tag. Raises AgentTagNotFound and AgentArchived."""
        with self._database.transaction() as session:
            session.delete(find_tag(session, lock_for_change(session, tenant_id, agent_id), tag))


def find_tag(session: Session, agent: Agent, tag: str) -> AgentTag:
    """Returns a tag of the agent. Raises AgentTagNotFound."""
    row = _find(session, agent, tag) if TAG_PATTERN.fullmatch(tag) else None
    if row is None:
        raise AgentTagNotFound
    return row


def _find(session: Session, agent: Agent, tag: str) -> AgentTag | None:
    wanted = select(AgentTag).where(
        AgentTag.tenant_id == agent.tenant_id, AgentTag.agent_id == agent.id, AgentTag.tag == tag
    )
    return session.scalar(wanted)


def _refuse_name() -> NoReturn:
    message = "takes 1 to 64 of a-z 0-9 . _ - and begins with a letter or a digit"
    raise malformed_at(Problem(("tag",), message), "path")
