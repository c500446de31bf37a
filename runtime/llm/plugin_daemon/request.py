"""The body of a model call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings, ToolOrOutput
from pydantic_ai.tools import ToolDefinition

from runtime.llm.plugin_daemon.messages import PromptMessage
from runtime.llm.unsupported import UnsupportedRequest

NOT_MODEL_PARAMETERS = frozenset(
    {
        "extra_body",
        "stop_sequences",
        # The library's own, which it applies itself.
        "first_event_timeout",
        "framing_announcement",
        "request_timeout",
    }
)


@dataclass(frozen=True, slots=True)
class CallIdentity:
    """The model that is called, with whose credentials, and for whom."""

    provider: str
    model: str
    credentials: Mapping[str, Any]
    user_id: str | None


def request_body(
    identity: CallIdentity,
    messages: Sequence[PromptMessage],
    settings: ModelSettings,
    parameters: ModelRequestParameters,
) -> bytes:
    """The JSON of a streamed model call.

    ASCII only, so that no text can fail to be encoded. Raises UnsupportedRequest for settings that are not JSON.
    """
    data = {
        "provider": identity.provider,
        "model_type": "llm",
        "model": identity.model,
        "credentials": dict(identity.credentials),
        "prompt_messages": list(messages),
        "model_parameters": _model_parameters(settings),
        "tools": [_tool(tool) for tool in _offered_tools(settings, parameters)] or None,
        "stop": settings.get("stop_sequences") or None,
        "stream": True,
    }
    user = {} if identity.user_id is None else {"user_id": identity.user_id}
    try:
        return json.dumps({**user, "data": data}, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError) as error:
        raise UnsupportedRequest(f"The model call cannot be written as JSON: {error}") from error


def _model_parameters(settings: ModelSettings) -> dict[str, Any]:
    extra_body = settings.get("extra_body") or {}
    if not isinstance(extra_body, Mapping):
        raise UnsupportedRequest("The model setting extra_body must be an object.")
    named = {
        name: value
        for name, value in settings.items()
        if name not in NOT_MODEL_PARAMETERS and value is not None and not _selects_tools(name, value)
    }
    return {**named, **extra_body}


def _selects_tools(setting: str, value: object) -> bool:
    return setting == "tool_choice" and not isinstance(value, str)


def _offered_tools(settings: ModelSettings, parameters: ModelRequestParameters) -> list[ToolDefinition]:
    """Function tools and output tools alike, or those that the setting ``tool_choice`` names."""
    choice = settings.get("tool_choice")
    offered = list(parameters.declared_tool_defs.values())
    if isinstance(choice, ToolOrOutput):
        outputs = [tool.name for tool in parameters.output_tools]
        return [tool for tool in offered if tool.name in (*choice.function_tools, *outputs)]
    if isinstance(choice, list):
        return [tool for tool in offered if tool.name in choice]
    return offered


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.parameters_json_schema,
    }
