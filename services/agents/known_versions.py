"""Caches the parsed versions of agents for runs, since a version never changes."""

from __future__ import annotations

from dataclasses import dataclass

from cachetools import LRUCache
from pydantic_core import from_json
from sqlalchemy import Text, bindparam, cast, select
from sqlalchemy.orm import Session

from errors import AgentVersionNotFound
from models import AgentConfigSnapshot
from runtime.protocol.ids import is_id
from services.souls import AgentSoulConfig

MOST_REMEMBERED = 200
LONGEST_REMEMBERED = 100_000
"""The most characters of a Soul that is cached; a longer one is read each time."""

# Built once: SQLAlchemy takes longer to build a statement than to execute it.
_WANTED = select(
    AgentConfigSnapshot.tenant_id, AgentConfigSnapshot.agent_id, cast(AgentConfigSnapshot.config_snapshot, Text)
).where(AgentConfigSnapshot.id == bindparam("version_id"))


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A version of an agent."""

    id: str
    tenant_id: str
    agent_id: str
    soul: AgentSoulConfig


class KnownVersions:
    """Finds versions for runs. One per process, because it caches them."""

    def __init__(self) -> None:
        self._known: LRUCache[str, KnownVersion] = LRUCache(MOST_REMEMBERED)

    def find(self, session: Session, tenant_id: str, agent_id: str, version_id: str | None) -> KnownVersion:
        """Returns a version of the agent, without a query if it is cached. Raises AgentVersionNotFound."""
        version = None
        if version_id is not None and is_id(version_id):
            version = self._known.get(version_id) or self._look_up(session, version_id)
        if version is None or (version.tenant_id, version.agent_id) != (tenant_id, agent_id):
            raise AgentVersionNotFound
        return version

    def _look_up(self, session: Session, version_id: str) -> KnownVersion | None:
        found = session.connection().execute(_WANTED, {"version_id": version_id}).one_or_none()
        if found is None:
            return None
        tenant_id, agent_id, text = found
        version = KnownVersion(version_id, tenant_id, agent_id, AgentSoulConfig.from_stored(from_json(text)))
        if len(text) <= LONGEST_REMEMBERED:
            self._known[version_id] = version
        return version
