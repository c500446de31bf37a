"""The services of chats, joined."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.runtime import Runtime
from services.chat.asides import Asides
from services.chat.chat import ChatRules, ChatService
from services.chat.end_users import EndUserService
from services.chat.namer import Namer
from services.chat.suggestions import Suggestions
from services.credentials import CredentialService
from services.database import Database
from services.runs import RunService
from services.sessions.assembly import SessionParts


@dataclass(frozen=True, slots=True)
class ChatParts:
    """The services of chats of one process."""

    end_users: EndUserService
    chat: ChatService
    suggestions: Suggestions
    namer: Namer

    @classmethod
    def make(
        cls,
        database: Database,
        runtime: Runtime,
        credentials: CredentialService,
        sessions: SessionParts,
        rules: ChatRules,
    ) -> ChatParts:
        runs, end_users = RunService(runtime), EndUserService(database)
        asides = Asides(database, credentials, runs)
        namer = Namer(database, asides, asks_model=rules.names_by_model)
        chat = ChatService(database, runs, end_users, sessions.turns, sessions.finalizer, namer, rules)
        return cls(end_users, chat, Suggestions(asides), namer)
