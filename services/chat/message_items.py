"""Renders a turn as a message of Dify's service API."""

from __future__ import annotations

from typing import Any

from models import SessionTurn
from models.enums import TurnStatus
from runtime.llm.usage import ModelUsage
from services.chat.chat_requests import query_of
from services.chat.replay import stored_failure


def message_item(turn: SessionTurn, *, parent_id: str | None) -> dict[str, Any]:
    """Returns the message for a turn. What is prepared for a turn that is not yet finalized is not shown."""
    is_finalized = turn.status is not TurnStatus.RUNNING
    usage = ModelUsage.model_validate(turn.usage or {}) if is_finalized else ModelUsage()
    created_at = int(turn.created_at.timestamp())
    thoughts = turn.thoughts if is_finalized else []
    return {
        "id": turn.id,
        "conversation_id": turn.session_id,
        "parent_message_id": parent_id,
        "inputs": turn.inputs,
        "query": query_of(turn),
        "answer": turn.answer if is_finalized else "",
        "feedback": {"rating": turn.rating} if turn.rating else None,
        "retriever_resources": [],
        "created_at": created_at,
        "agent_thoughts": [_thought_item(thought, turn.id, created_at) for thought in thoughts],
        "message_files": [],
        "message_tokens": usage.prompt_tokens,
        "answer_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "provider_response_latency": turn.latency if is_finalized else 0.0,
        "total_price": format(usage.total_price, "f"),
        "currency": usage.currency,
        "status": "error" if turn.status is TurnStatus.FAILED else "normal",
        "error": stored_failure(turn).message if turn.status is TurnStatus.FAILED else None,
        "extra_contents": [],
    }


def _thought_item(thought: dict[str, Any], message_id: str, created_at: int) -> dict[str, Any]:
    tool = thought["tool"]
    return {
        "id": thought["id"],
        "chain_id": None,
        "message_id": message_id,
        "position": thought["position"],
        "thought": thought["thought"],
        "answer": "",
        "tool": tool,
        "tool_labels": {tool: {"en_US": tool, "zh_Hans": tool}} if tool else {},
        "tool_input": thought["tool_input"],
        "created_at": created_at,
        "observation": thought["observation"],
        "files": [],
    }
