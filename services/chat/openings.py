"""Opening statements: what the versions of agents say before the first question."""

from __future__ import annotations

from collections.abc import Collection

from cachetools import LRUCache
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import AgentConfigSnapshot

MOST_REMEMBERED = 1_000


class Openings:
    """Caches opening statements by version, since a version never changes and its Soul is large."""

    def __init__(self) -> None:
        self._known: LRUCache[str, str] = LRUCache(MOST_REMEMBERED)

    def of_versions(self, session: Session, version_ids: Collection[str]) -> dict[str, str]:
        """Returns the opening statement of each version, or an empty text; one query reads all that are not cached."""
        known = {version_id: self._known.get(version_id) for version_id in version_ids}
        missing = [version_id for version_id, opening in known.items() if opening is None]
        found: dict[str, str] = {}
        if missing:
            wanted = select(AgentConfigSnapshot.id, AgentConfigSnapshot.config_snapshot)
            for version_id, soul in session.execute(wanted.where(AgentConfigSnapshot.id.in_(missing))):
                found[version_id] = opening_of(soul.get("app_features"))
        self._known.update(found)
        return {version_id: opening or found.get(version_id, "") for version_id, opening in known.items()}


def opening_of(features: object) -> str:
    """Returns the opening statement among the features of a Soul."""
    statement = features.get("opening_statement") if isinstance(features, dict) else None
    return statement if isinstance(statement, str) else ""
