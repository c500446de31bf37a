"""The body of a model call."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings, ToolOrOutput
from pydantic_ai.tools import ToolDefinition

from runtime.llm.plugin_daemon.request import CallIdentity, request_body

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}
PARAMETERS = ModelRequestParameters(
    function_tools=[
        ToolDefinition(name="search", description="Searches.", parameters_json_schema=SCHEMA),
        ToolDefinition(name="hidden", parameters_json_schema=SCHEMA, defer_loading=True),
        ToolDefinition(name="other", parameters_json_schema=SCHEMA),
    ],
    output_tools=[ToolDefinition(name="final_output", parameters_json_schema=SCHEMA)],
)


def body(settings: dict[str, Any], *, user_id: str | None = "user", credentials: Any = None) -> dict[str, Any]:
    identity = CallIdentity("openai", "gpt", credentials or {"api_key": "k", "n": 1, "on": True}, user_id)
    written = request_body(identity, [{"role": "user"}], cast(ModelSettings, settings), PARAMETERS)
    decoded: dict[str, Any] = json.loads(written)
    return decoded


def tool_names(settings: dict[str, Any]) -> list[str]:
    return [tool["name"] for tool in body(settings)["data"]["tools"]]


def test_the_body_names_the_model_and_asks_for_a_stream() -> None:
    assert body({}) == {
        "user_id": "user",
        "data": {
            "provider": "openai",
            "model_type": "llm",
            "model": "gpt",
            "credentials": {"api_key": "k", "n": 1, "on": True},
            "prompt_messages": [{"role": "user"}],
            "model_parameters": {},
            "tools": [
                {"name": "search", "description": "Searches.", "parameters": SCHEMA},
                {"name": "other", "description": "", "parameters": SCHEMA},
                {"name": "final_output", "description": "", "parameters": SCHEMA},
            ],
            "stop": None,
            "stream": True,
        },
    }


def test_without_a_user_the_key_is_absent() -> None:
    assert "user_id" not in body({}, user_id=None)


def test_without_tools_the_key_is_null() -> None:
    written = request_body(CallIdentity("p", "m", {}, None), [], ModelSettings(), ModelRequestParameters())

    assert json.loads(written)["data"]["tools"] is None


def test_settings_become_model_parameters() -> None:
    data = body(
        {
            "temperature": 0.5,
            "max_tokens": 10,
            "top_p": None,
            "stop_sequences": ["END"],
            "request_timeout": 3,
            "tool_choice": "auto",
            "extra_body": {"temperature": 0.7, "reasoning": {"effort": "low"}, "kept": None},
        }
    )["data"]

    assert data["model_parameters"] == {
        "temperature": 0.7,
        "max_tokens": 10,
        "tool_choice": "auto",
        "reasoning": {"effort": "low"},
        "kept": None,
    }
    assert data["stop"] == ["END"]


def test_a_choice_of_tools_limits_what_is_offered() -> None:
    assert tool_names({"tool_choice": ["search"]}) == ["search"]
    assert tool_names({"tool_choice": ToolOrOutput(function_tools=["other"])}) == ["other", "final_output"]
    assert tool_names({"tool_choice": "none"}) == ["search", "other", "final_output"]


@pytest.mark.parametrize(
    "settings",
    [{"temperature": float("nan")}, {"timeout": object()}, {"extra_body": ["x"]}, {"extra_body": "x"}],
)
def test_settings_that_are_not_json_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        body(settings)


def test_any_text_can_be_sent() -> None:
    identity = CallIdentity("p", "m", {}, None)

    written = request_body(identity, [{"content": "\ud83d é\u2028"}], ModelSettings(), ModelRequestParameters())

    assert written.isascii()
    assert json.loads(written)["data"]["prompt_messages"][0]["content"] == "\ud83d é\u2028"
