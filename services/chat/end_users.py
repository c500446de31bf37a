"""End users: the people that an app speaks with, as it names them."""

from __future__ import annotations

from cachetools import LRUCache
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from models import EndUser
from services.chat.apps import App
from services.database import Database

DEFAULT_USER = "DEFAULT-USER"
"""Who is meant where a request may leave out its user, and does."""

MOST_REMEMBERED = 10_000


class EndUserService:
    """Ids of end users. One a process, because it remembers them: they never change.

    Its methods raise DatabaseUnavailable.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: LRUCache[tuple[str, str], str] = LRUCache(MOST_REMEMBERED)

    def find(self, app: App, user: str) -> str | None:
        """The id of an end user; None when nobody of this name has ever spoken with the app."""
        known = self._known.get((app.agent_id, user))
        return known or self._look_up(app, user)

    def find_or_make(self, app: App, user: str) -> str:
        """The id of an end user, who is made when the name is new."""
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
        except IntegrityError:  # another request has made it in the meantime
            made = self._look_up(app, user)
            if made is None:
                raise
            return made
        self._known[app.agent_id, user] = row.id
        return row.id
