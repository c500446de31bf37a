"""The output for clients of Dify's service API: the frames of a stream, and the body of a blocking response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import to_json

from runtime.llm.usage import ModelUsage
from services.chat.failures import ChatFailure
from services.chat.usage import blocking_usage, streamed_usage
from services.sessions.thoughts import Thought

PING = b"event: ping\n\n"
"""The only frame without data."""

APP_MODE = "agent"

_LINE_BREAKS = (("\u0085".encode(), b"\\u0085"), ("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"))
"""Characters at which some clients split lines. They can only occur inside JSON strings, so escaping them is safe."""


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """The fields of a turn that its frames contain. ``created_at`` is in whole seconds since 1970."""

    conversation_id: str
    message_id: str
    task_id: str
    run_id: str
    created_at: int


@dataclass(frozen=True, slots=True)
class FormTicket:
    """What a client needs to show the form for a question to a person."""

    form_token: str
    expires_at: datetime

    def as_json(self) -> dict[str, Any]:
        """Returns the ticket as JSON; the times of the service API are whole seconds since 1970."""
        return {"form_token": self.form_token, "expires_at": int(self.expires_at.timestamp())}


def message(turn: ChatTurn, answer: str) -> bytes:
    """Renders a piece of the answer."""
    head = _head("message", turn)
    return _frame({**head, "id": turn.message_id, "answer": answer, "from_variable_selector": []})


def agent_thought(turn: ChatTurn, thought: Thought) -> bytes:
    """Renders a whole row. It is sent again, with the same id, when it has changed."""
    tool = thought.tool
    return _frame(
        {
            **_head("agent_thought", turn),
            "id": thought.id,
            "position": thought.position,
            "thought": thought.thought,
            "observation": thought.observation,
            "tool": tool,
            "tool_labels": {tool: {"en_US": tool, "zh_Hans": tool}} if tool else {},
            "tool_input": thought.tool_input,
            "message_files": [],
        }
    )


def message_replace(turn: ChatTurn, answer: str, reason: str) -> bytes:
    """Renders the whole answer, which replaces all pieces so far."""
    return _frame({**_head("message_replace", turn), "answer": answer, "reason": reason})


def message_end(turn: ChatTurn, usage: ModelUsage, form: FormTicket | None = None) -> bytes:
    """Renders the last frame of a turn that did not fail."""
    metadata = {"retriever_resources": [], "usage": streamed_usage(usage), **_human_input(form)}
    return _frame({**_head("message_end", turn), "id": turn.message_id, "metadata": metadata, "files": []})


def error(turn: ChatTurn, failure: ChatFailure) -> bytes:
    """Renders the last frame of a turn that failed. It is the only one without a task id."""
    head = _head("error", turn)
    del head["task_id"]
    return _frame({**head, "code": failure.code, "status": failure.status, "message": failure.message})


def blocking_body(turn: ChatTurn, answer: str, usage: ModelUsage, form: FormTicket | None = None) -> dict[str, Any]:
    """Returns the body of the response to a request that waits for the whole turn."""
    numbers = blocking_usage(usage)
    metadata = {"annotation_reply": None, "retriever_resources": [], "usage": numbers, **_human_input(form)}
    return {
        "event": "message",
        "task_id": turn.task_id,
        "id": turn.message_id,
        "message_id": turn.message_id,
        "conversation_id": turn.conversation_id,
        "mode": APP_MODE,
        "answer": answer,
        "metadata": metadata,
        "usage": numbers,
        "created_at": turn.created_at,
    }


def _head(event: str, turn: ChatTurn) -> dict[str, Any]:
    return {
        "event": event,
        "conversation_id": turn.conversation_id,
        "message_id": turn.message_id,
        "created_at": turn.created_at,
        "task_id": turn.task_id,
    }


def _human_input(form: FormTicket | None) -> dict[str, Any]:
    return {} if form is None else {"human_input": form.as_json()}


def _frame(data: Mapping[str, Any]) -> bytes:
    line = to_json(data)
    for character, escape in _LINE_BREAKS:
        if character in line:
            line = line.replace(character, escape)
    return b"data: %b\n\n" % line
