"""A client of ``/sessions`` for one tenant, and agents whose model is scripted."""

from __future__ import annotations

from typing import Any

from tests.support.agent_client import AgentClient
from tests.support.client import RunClient, wait_until
from tests.support.plugin_daemon import USAGE, Answer

WAITED_SECONDS = 60.0


def scripted_soul(model: str, prompt: str = "You are concise.", **rest: Any) -> dict[str, Any]:
    """A Soul whose model answers by the scripted daemon's script of that name."""
    named = {"plugin_id": "langgenius/openai", "model_provider": "openai", "model": model}
    return {"prompt": {"system_prompt": prompt}, "model": named, **rest}


def says(text: str, **options: Any) -> Answer:
    """The script of an answer with this text."""
    return [{"text": text, **options}, {"finish": "stop", "usage": USAGE}]


def says_and_waits(text: str, *, until: str, then: str = "") -> Answer:
    """The script of an answer that pauses after this text until a release."""
    return [{"text": text}, {"wait": until}, *([{"text": then}] if then else []), {"finish": "stop", "usage": USAGE}]


def shown(call: dict[str, Any]) -> list[tuple[str, str]]:
    """The messages that a call sent to the model, as roles and texts, without system prompts."""
    messages = call["body"]["data"]["prompt_messages"]
    return [(message["role"], _text(message["content"])) for message in messages if message["role"] != "system"]


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("data") or part.get("text") or "" for part in content)
    return str(content or "")


class SessionClient(AgentClient):
    """Calls ``/sessions`` as the operator, for a new tenant unless one is named."""

    def scripted_agent(self, model: str, *, name: str = "Ada", **soul: Any) -> dict[str, Any]:
        return self.json("POST", "/agents", 201, json={"name": name, "agent_soul": scripted_soul(model, **soul)})

    def session(self, agent: dict[str, Any], **rest: Any) -> str:
        """Creates a session with an agent and returns its id."""
        made = self.json("POST", "/sessions", 201, json={"agent_id": agent["id"], **rest})
        return str(made["id"])

    def start(self, session_id: str, query: str = "Hello?", **rest: Any) -> dict[str, Any]:
        """Starts a turn that must be accepted."""
        return self.json("POST", f"/sessions/{session_id}/runs", 202, json={"query": query, **rest})

    def say(self, session_id: str, query: str = "Hello?", **rest: Any) -> dict[str, Any]:
        """Starts a turn, waits for its end and returns its terminal event."""
        return self.finish(self.start(session_id, query, **rest)["run_id"])

    def finish(self, run_id: str) -> dict[str, Any]:
        return self.runs().finish(run_id)

    def turns(self, session_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("GET", f"/sessions/{session_id}/turns?limit=100")["data"]
        return found

    def wait_for_turn(self, session_id: str, place: int, status: str) -> dict[str, Any]:
        """Waits until the turn at this place in the list has a status."""
        wait_until(lambda: self.turns(session_id)[place]["status"] == status, timeout=WAITED_SECONDS)
        return self.turns(session_id)[place]

    def runs(self) -> RunClient:
        """A client for this tenant's runs."""
        client = RunClient(self.url)
        client.session.headers.update(self._headers)
        return client
