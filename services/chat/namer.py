"""Names conversations, with the model's help where the operator wants that."""

from __future__ import annotations

import logging

import gevent
from sqlalchemy import update

from errors import DatabaseUnavailable
from models import AgentSession
from services.chat.asides import Asides
from services.chat.naming import name_of
from services.database import Database
from services.sessions.answers import storable

logger = logging.getLogger(__name__)

INSTRUCTION = (
    "Name the conversation that begins with the user's message: at most six words, in the language of the message, "
    "without quotes and without a full stop. Answer with the name alone."
)
MAX_SHOWN_CHARS = 2000
"""The most characters of the message that are shown to the model."""


class Namer:
    """Names conversations shortly after they begin. Until then, and without a model, the first question is the name."""

    def __init__(self, database: Database, asides: Asides, *, asks_model: bool) -> None:
        self._database = database
        self._asides = asides
        self._asks_model = asks_model

    def name_later(self, session_id: str, query: str) -> None:
        """Has the model name a conversation in the background, unless somebody renames it first."""
        if self._asks_model:
            gevent.spawn(self._name, session_id, query)

    def name_now(self, session_id: str, query: str) -> str:
        """Returns a name for a conversation that begins with this question."""
        return (self._ask(session_id, query) if self._asks_model else None) or name_of(query)

    def _name(self, session_id: str, query: str) -> None:
        name = self._ask(session_id, query)
        if name is None:
            return
        unnamed = (AgentSession.id == session_id, AgentSession.name == name_of(query))
        try:
            with self._database.transaction() as session:
                # The time stays: clients page through lists by it, and no user has changed anything.
                values = {"name": name, "updated_at": AgentSession.updated_at}
                session.execute(update(AgentSession).where(*unnamed).values(values))
        except DatabaseUnavailable:
            logger.info("session %s: it keeps its first name: the database is away", session_id)

    def _ask(self, session_id: str, query: str) -> str | None:
        """Returns the model's name; None if it gave none."""
        answer = self._asides.ask(session_id, INSTRUCTION, query[:MAX_SHOWN_CHARS])
        return name_of(storable(answer)) if answer and answer.strip() else None
