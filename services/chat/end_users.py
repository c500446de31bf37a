"""End users: the people that an app talks to, by the names that it gives them."""

from __future__ import annotations

from cachetools import LRUCache
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from models import EndUser
from services.chat.apps import App
from services.database import Database

DEFAULT_USER = "DEFAULT-USER"
"""The user of requests that may leave out their user, and do."""

MOST_REMEMBERED = 10_000


class EndUserService:
    """Finds and creates end users. One per process, because it caches their ids, which never change.

    Its methods raise DatabaseUnavailable.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: LRUCache[tuple[str, str], str] = LRUCache(MOST_REMEMBERED)

    def find(self, app: App, user: str) -> str | None:
        """Returns the id of an end user; None when nobody with this name has ever talked to the app."""
        known = self._known.get((app.agent_id, user))
        return known or self._look_up(app, user)

    def find_or_make(self, app: App, user: str) -> str:
        """Returns the id of an end user, who is created when the name is new."""
        return self.find(app, user) or self._make(app, user)

    def _look_up(self, app: App, user: str) -> str | None:
        wanted = select(EndUser.id).where(EndUser.agent_id == app.agent_id, EndUser.external_user_id == user)
        with self._database.reading() as session:
            found = session.scalar(wanted)
        if found is not None:
            self._known[app.agent_id, user] = found
        return found

    def _make(self, app: App, user: str) -> str:
        row = EndUser(tenant_id=app.tenant_id, agent_id=app.agent_id, external_user_id=user)
        try:
            with self._database.transaction() as session:
                session.add(row)
                session.flush()
        except IntegrityError:  # another request has created them in the meantime
            made = self._look_up(app, user)
            if made is None:
                raise
            return made
        self._known[app.agent_id, user] = row.id
        return row.id
