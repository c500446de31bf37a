"""Asides: small questions to an agent's model that are not part of its conversations."""

from __future__ import annotations

import json
import logging
import time

from errors import GreenrunError, SessionNotFound
from models import AgentConfigSnapshot, AgentSession
from runtime.layers.dify_identity import ExecutionContextConfig
from runtime.protocol.cursors import BEGINNING
from runtime.protocol.dialects import Dialect
from runtime.protocol.events import EventType
from runtime.protocol.requests import CancelRunRequest, CompositionSpec, CreateRunRequest
from runtime.runs import ASIDE, Origin, StreamEntry
from services.credentials import CredentialService
from services.database import Database
from services.run_access import RunAccess
from services.runs import RunService
from services.sessions.answers import answer_text
from services.souls import AgentSoulConfig, composition_of, credential_names

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 30.0
"""How long an answer may take: a person may be waiting for it."""
LOOK_SECONDS = 1.0
TOO_LONG = "aside_took_too_long"


class Asides:
    """Asks the models of agents. Each aside is a run of its own, without tools, history or people to ask."""

    def __init__(self, database: Database, credentials: CredentialService, runs: RunService) -> None:
        self._database = database
        self._credentials = credentials
        self._runs = runs

    def ask(self, session_id: str, instruction: str, text: str) -> str | None:
        """Returns the answer of the model of a session's agent; None, with a log line, when there is none."""
        try:
            return self._ask(session_id, instruction, text)
        except GreenrunError as error:
            logger.info("session %s: an aside was not answered: %s", session_id, error)
            return None

    def _ask(self, session_id: str, instruction: str, text: str) -> str | None:
        tenant_id, spec = self._composition(session_id, instruction, text)
        request = CreateRunRequest(composition=spec)
        proven = self._runs.prove(request, dialect=Dialect.CURRENT)
        with self._runs.admission(tenant_id) as place:
            origin = Origin(kind=ASIDE, id=session_id)
            run_id = self._runs.begin(proven, place, origin=origin, request=request).run_id
        last = self._last_event(run_id, tenant_id)
        if last is None or last.event_type != EventType.RUN_SUCCEEDED:
            logger.info("session %s: an aside was not answered: run %s", session_id, run_id)
            return None
        return answer_text(json.loads(last.payload)["data"]["output"])

    def _last_event(self, run_id: str, tenant_id: str) -> StreamEntry | None:
        """Returns the terminal event of a run, which is cancelled when it takes too long; then None."""
        access, deadline = RunAccess(frozenset({tenant_id})), time.monotonic() + PATIENCE_SECONDS
        last = None
        for entries in self._runs.follow_run(run_id, access=access, after=BEGINNING, heartbeat=LOOK_SECONDS):
            last = entries[-1] if entries else last
            if time.monotonic() > deadline and not (last and last.is_terminal):
                self._runs.cancel_run(run_id, CancelRunRequest(reason=TOO_LONG), access=access)
                return None
        return last

    def _composition(self, session_id: str, instruction: str, text: str) -> tuple[str, CompositionSpec]:
        with self._database.reading() as session:
            row = session.get(AgentSession, session_id)
            if row is None:
                raise SessionNotFound
            version = session.get_one(AgentConfigSnapshot, row.version_id)
            model = AgentSoulConfig.from_stored(version.config_snapshot).model
            soul = AgentSoulConfig.model_validate({"prompt": {"system_prompt": instruction}, "model": model})
            values = self._credentials.resolve(session, row.tenant_id, credential_names(soul))
        context = ExecutionContextConfig(tenant_id=row.tenant_id, invoke_from="service-api", agent_id=row.agent_id)
        return row.tenant_id, composition_of(soul, query=text, context=context, credentials=values)
