"""The services of one application: created from the settings, and tied to the life of its worker."""

from __future__ import annotations

from runtime.runtime import Runtime
from services.assembly import ServiceRules, Services
from services.chat.chat import ChatRules
from services.database import Database
from services.run_kinds import register_run_kinds
from settings import Settings


def make_services(settings: Settings, runtime: Runtime, database: Database) -> Services:
    """Returns all services. What they do besides requests begins and ends with the runtime."""
    rules = service_rules(settings, runtime)
    services = Services.make(rules, runtime, database)
    work = services.turn_work
    register_run_kinds(runtime.origins, runtime.observers, rules.operator, work)
    runtime.at_start(work.sweeper.start)
    runtime.at_close(database.close)
    runtime.at_close(work.sweeper.close)
    runtime.at_close(work.pending.close)
    return services


def service_rules(settings: Settings, runtime: Runtime) -> ServiceRules:
    """Converts the settings to the plain values that services take."""
    return ServiceRules(
        key_ring=settings.key_ring,
        operator=runtime.config.rules,
        dialect=runtime.config.dialect,
        requests_a_second=settings.requests_a_second,
        requests_at_once=settings.requests_at_once,
        max_subscriptions=settings.max_subscriptions,
        form_seconds=settings.human_input_seconds,
        cancels_forms=settings.human_input_conflict == "cancel",
        patience_seconds=settings.max_wait_seconds,
        max_session_queue=settings.max_session_queue,
        max_tenant_runs_per_minute=settings.max_tenant_runs_per_minute,
        max_tenant_streams=settings.max_tenant_streams,
        chat=ChatRules(
            is_strict=settings.service_api_strict,
            stops_unread=settings.stop_unread_chats,
            names_by_model=settings.conversation_names == "model",
        ),
    )
