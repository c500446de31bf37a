"""A server with one worker, and an app on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.support.chat_load import Held
from benchmarks.support.measure import cpu_seconds
from benchmarks.support.servers import DAEMON_KEY, MERGING_VARIABLE, OURS_PREFIX, delta_merging
from runtime.layers.dify_identity import ExecutionContextConfig
from runtime.protocol.snapshots import SessionSnapshot
from services.souls import AgentSoulConfig, composition_of
from tests.support.agent_client import ADMIN_TOKEN, AgentClient
from tests.support.agent_server import SECRET_KEYS
from tests.support.databases import migrate
from tests.support.gunicorn_server import running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import running_redis
from tests.support.session_client import scripted_soul


@dataclass(frozen=True)
class ChatApp:
    """An agent without tools, with a key for it. ``pid`` is that of the one worker."""

    url: str
    pid: int
    roster: AgentClient
    agent_id: str
    key: str
    soul: dict[str, Any]

    @classmethod
    def make(cls, url: str, pid: int, model: str) -> ChatApp:
        """Creates an agent with its own tenant, whose model is scripted under the name ``model``."""
        roster, soul = AgentClient(url), scripted_soul(model)
        made = roster.json("POST", "/agents", 201, json={"name": model, "agent_soul": soul})
        key = roster.json("POST", "/keys", 201, json={"kind": "app", "agent_id": made["id"]})
        return cls(url, pid, roster, made["id"], key["key"], soul)

    def cpu(self) -> float:
        """CPU seconds that the worker has used so far."""
        return cpu_seconds(self.pid)

    def run_body(self, snapshot: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns a request for a bare run with the layers of a turn, with or without what a session remembers."""
        context = ExecutionContextConfig(
            tenant_id=self.roster.tenant,
            invoke_from="service-api",
            agent_mode="agent_app",
            user_id="user-0",
            user_from="end-user",
            agent_id=self.agent_id,
        )
        soul = AgentSoulConfig.model_validate(self.soul)
        spec = composition_of(soul, query="A question?", context=context, with_history=True)
        return {"composition": spec.model_dump(mode="json"), "session_snapshot": snapshot}

    def remembered(self, conversation_id: str) -> dict[str, Any] | None:
        """Returns the snapshot of a conversation; None before its first success."""
        snapshot: dict[str, Any] | None = self.roster.json("GET", f"/sessions/{conversation_id}")["session_snapshot"]
        return snapshot

    def gap(self, held: Held, answer: str) -> str | None:
        """Returns what a conversation remembers if that is not each query with its answer; None when all is well."""
        expected = [text for query in held["queries"] for text in (query, answer)]
        found = _texts(self.remembered(held["id"])) if held["id"] is not None else []
        return None if found == expected else f"{found} instead of {expected}"


@contextmanager
def chat_server(daemon: ScriptedDaemon, database_url: str) -> Iterator[tuple[str, int]]:
    """Runs a server with production settings, but with room for the load. Yields its URL and its one worker."""
    migrate(database_url)
    with running_redis() as redis:
        env = {
            "DIFY_AGENT_REDIS_URL": redis.url,
            "DIFY_AGENT_REDIS_PREFIX": OURS_PREFIX,
            "DIFY_AGENT_DATABASE_URL": database_url,
            "DIFY_AGENT_PLUGIN_DAEMON_URL": daemon.url,
            "DIFY_AGENT_PLUGIN_DAEMON_API_KEY": DAEMON_KEY,
            "DIFY_AGENT_PLUGIN_DAEMON_MAX_CONNECTIONS": "1000",
            "DIFY_AGENT_ADMIN_TOKEN": ADMIN_TOKEN,
            "DIFY_AGENT_SECRET_KEYS": SECRET_KEYS,
            MERGING_VARIABLE: delta_merging(),
        }
        with running_server(env, cold=True) as server:
            yield server.url, server.workers()[0]


def _texts(snapshot: dict[str, Any] | None) -> list[str]:
    """Returns what both sides said in turn."""
    if snapshot is None:
        return []
    states = [layer.runtime_state for layer in SessionSnapshot.model_validate(snapshot).layers]
    messages = [message for state in states for message in state.get("messages", [])]
    return ["".join(part["content"] for part in message["parts"]) for message in messages]
