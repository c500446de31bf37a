"""Assembles all services: each is created here, once per application."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import SecretStr

from runtime.config import OperatorRules
from runtime.protocol.dialects import Dialect
from runtime.runs import Worker
from services.agents.history import VersionService
from services.agents.roster import AgentService
from services.agents.runs import AgentRunService
from services.agents.tags import TagService
from services.agents.transfer import TransferService
from services.api_keys import ApiKeyService
from services.chat.app_info import AppInfoService
from services.chat.apps import AppService
from services.chat.asides import Asides
from services.chat.chat import ChatRules, ChatService
from services.chat.conversations import ConversationService
from services.chat.end_users import EndUserService
from services.chat.feedback import FeedbackService
from services.chat.messages import MessageService
from services.chat.namer import Namer
from services.chat.suggestions import Suggestions
from services.composer.service import ComposerService
from services.credentials import CredentialService
from services.database import Database
from services.feed import FeedService
from services.health import HealthService
from services.new_run_limit import NewRunLimit
from services.open_streams import OpenStreams
from services.rate_limiter import RateLimiter
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
from services.stream_tokens import StreamTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRules:
    """The operator's settings for the services. Times are in seconds."""

    key_ring: Sequence[SecretStr]
    """The first key encrypts credentials and signs stream tokens; every key still decrypts and verifies."""
    operator: OperatorRules
    dialect: Dialect | None
    """The dialect of every run; None means that each request decides."""
    requests_a_second: float
    requests_at_once: int
    """The requests that one caller may make at once. A rate of 0 means no limit."""
    max_subscriptions: int
    """The most runs that one connection to the feed may follow at once."""
    form_seconds: float
    """How long a question to a person waits for its answer."""
    cancels_forms: bool
    """Whether an ordinary turn gives up the question that waits; otherwise the turn is refused."""
    patience_seconds: float
    """How long a turn whose time has come waits for the database."""
    max_session_queue: int
    """Turns of one session that may wait for those before them."""
    max_tenant_runs_per_minute: int
    """New runs of one tenant, on all workers; 0 is no limit."""
    max_tenant_streams: int
    """Streams that one tenant may have open on this worker; 0 is no limit."""
    chat: ChatRules


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnWork:
    """The work on sessions that is not part of any request."""

    turns: TurnService
    line: Line
    pending: PendingFinalizations
    cleanup: SessionCleanup
    sweeper: Sweeper


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The services of one application. Creating them connects to nothing."""

    limiter: RateLimiter
    keys: ApiKeyService
    credentials: CredentialService
    stream_tokens: StreamTokens
    health: HealthService
    runs: RunService
    streams: OpenStreams
    feed: FeedService
    agents: AgentService
    versions: VersionService
    tags: TagService
    transfer: TransferService
    agent_runs: AgentRunService
    composer: ComposerService
    sessions: SessionService
    forms: FormService
    apps: AppService
    app_info: AppInfoService
    chat: ChatService
    conversations: ConversationService
    messages: MessageService
    feedback: FeedbackService
    turn_work: TurnWork

    @classmethod
    def make(cls, rules: ServiceRules, worker: Worker, database: Database) -> Services:
        credentials = CredentialService(database, rules.key_ring)
        new_runs = NewRunLimit(rules.max_tenant_runs_per_minute, take_token=worker.take_token)
        runs = RunService(worker, rules.operator, rules.dialect, new_runs)

        compositions = SessionCompositions(credentials, rules.key_ring, runs)
        finalizer = Finalizer(database, worker, form_seconds=rules.form_seconds)
        pending = PendingFinalizations(finalizer)
        line = Line(database, worker, runs, finalizer, pending)
        turns = TurnService(
            database,
            worker,
            runs,
            compositions,
            finalizer,
            pending,
            line,
            cancels_forms=rules.cancels_forms,
            patience_seconds=rules.patience_seconds,
            max_queue=rules.max_session_queue,
        )
        cleanup = SessionCleanup(database, runs)
        sessions = SessionService(database, compositions, turns, finalizer, cleanup)
        forms = FormService(database, turns)
        sweeper = Sweeper(database, finalizer, line, cleanup, expire_form=forms.expire)

        end_users = EndUserService(database)
        asides = Asides(database, credentials, runs)
        namer = Namer(database, asides, asks_model=rules.chat.names_by_model)
        delete_session = partial(sessions.delete_session, cancel=True)
        suggest = Suggestions(asides).of_turn

        return cls(
            limiter=RateLimiter(
                rate=rules.requests_a_second, burst=rules.requests_at_once, take_token=worker.take_token
            ),
            keys=ApiKeyService(database),
            credentials=credentials,
            stream_tokens=StreamTokens(rules.key_ring),
            health=HealthService(worker, database),
            runs=runs,
            streams=OpenStreams(rules.max_tenant_streams),
            feed=FeedService(worker, max_subscriptions=rules.max_subscriptions),
            agents=AgentService(database),
            versions=VersionService(database),
            tags=TagService(database),
            transfer=TransferService(database),
            agent_runs=AgentRunService(database, credentials, runs),
            composer=ComposerService(database),
            sessions=sessions,
            forms=forms,
            apps=AppService(database),
            app_info=AppInfoService(database),
            chat=ChatService(database, runs, end_users, turns, finalizer, namer, rules.chat),
            conversations=ConversationService(database, end_users, delete=delete_session, name=namer.name_now),
            messages=MessageService(database, end_users, finalizer=finalizer, suggest=suggest),
            feedback=FeedbackService(database, end_users),
            turn_work=TurnWork(turns=turns, line=line, pending=pending, cleanup=cleanup, sweeper=sweeper),
        )
