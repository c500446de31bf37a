"""The services of sessions, joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from runtime.runtime import Runtime
from services.credentials import CredentialService
from services.database import Database
from services.runs import RunService
from services.sessions.cleanup import SessionCleanup
from services.sessions.compositions import SessionCompositions
from services.sessions.forms import FormService
from services.sessions.sessions import SessionService
from services.sessions.sweeper import Sweeper
from services.sessions.turns.accept import TurnService
from services.sessions.turns.finalize import Finalizer
from services.sessions.turns.line import Line
from services.sessions.turns.pending import PendingFinalizations


@dataclass(frozen=True, slots=True)
class SessionRules:
    """What the operator has set for sessions."""

    form_seconds: float
    """How long a question to a person waits for its answer."""
    cancels_forms: bool
    """Whether an ordinary turn gives up the question that waits; otherwise the turn is refused."""


@dataclass(frozen=True, slots=True)
class SessionParts:
    """The services of sessions of one process."""

    finalizer: Finalizer
    pending: PendingFinalizations
    line: Line
    turns: TurnService
    cleanup: SessionCleanup
    sessions: SessionService
    forms: FormService
    sweeper: Sweeper

    @classmethod
    def make(
        cls,
        database: Database,
        runtime: Runtime,
        credentials: CredentialService,
        key_ring: Sequence[SecretStr],
        rules: SessionRules,
    ) -> SessionParts:
        runs = RunService(runtime)
        compositions = SessionCompositions(credentials, key_ring, runs)
        finalizer = Finalizer(database, runtime, form_seconds=rules.form_seconds)
        pending = PendingFinalizations(finalizer)
        line = Line(database, runtime, runs, finalizer, pending)
        turns = TurnService(
            database, runtime, runs, compositions, finalizer, pending, line, cancels_forms=rules.cancels_forms
        )
        cleanup = SessionCleanup(database, runtime, runs)
        sessions = SessionService(database, compositions, turns, finalizer, cleanup)
        forms = FormService(database, turns)
        sweeper = Sweeper(database, finalizer, line, cleanup, expire_form=forms.expire)
        return cls(finalizer, pending, line, turns, cleanup, sessions, forms, sweeper)
