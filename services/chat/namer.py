"""Names of conversations, by the model where the operator wants that."""

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
"""Of the message that the model is shown."""


class Namer:
    """Names conversations a while after they have begun. Until then, and without a model, the first question does."""

    def __init__(self, database: Database, asides: Asides, *, asks_model: bool) -> None:
        self._database = database
        self._asides = asides
        self._asks_model = asks_model

    def name_later(self, session_id: str, query: str) -> None:
        """Let the model name a conversation, unless somebody else does before."""
        if self._asks_model:
            gevent.spawn(self._name, session_id, query)

    def name_now(self, session_id: str, query: str) -> str:
        """A name for a conversation that begins with this question."""
        return (self._ask(session_id, query) if self._asks_model else None) or name_of(query)

    def _name(self, session_id: str, query: str) -> None:
        name = self._ask(session_id, query)
        if name is None:
            return
        unnamed = (AgentSession.id == session_id, AgentSession.name == name_of(query))
        try:
            with self._database.transaction() as session:
                # Lists that people page through go by the time, and nobody has done anything.
                values = {"name": name, "updated_at": AgentSession.updated_at}
                session.execute(update(AgentSession).where(*unnamed).values(values))
        except DatabaseUnavailable:
            logger.info("session %s: it keeps its first name: the database is away", session_id)

    def _ask(self, session_id: str, query: str) -> str | None:
        """The model's name; None when it has none."""
        answer = self._asides.ask(session_id, INSTRUCTION, query[:MAX_SHOWN_CHARS])
        return name_of(storable(answer)) if answer and answer.strip() else None
