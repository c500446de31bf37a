"""``dify.plugin.tools``: its config, and what the model sees of its tools."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import SecretStr
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.tools import ToolDefinition

from errors import InvalidComposition
from runtime.composition.binding import bind_composition
from runtime.composition.composition import Composition
from runtime.layers.dify_plugin_tools import DifyPluginToolsLayer
from runtime.layers.registry import LAYER_TYPES
from runtime.llm.clients import ModelClients
from runtime.llm.plugin_daemon import PluginDaemonClient
from runtime.protocol.requests import CompositionSpec, OnExit

CANARY = "sk-canary-7f3a9"
CONTEXT = {
    "name": "context",
    "type": "dify.execution_context",
    "config": {"tenant_id": "tenant", "user_id": "user", "invoke_from": "service-api"},
}
RICH_PARAMETER = {
    "name": "query",
    "label": {"en_US": "Query"},
    "human_description": {"en_US": "What to look for"},
    "placeholder": None,
    "scope": None,
    "auto_generate": None,
    "template": None,
    "precision": None,
    "type": "string",
    "form": "llm",
    "llm_description": "What to look for",
    "required": None,
    "default": None,
    "min": None,
    "max": None,
    "options": None,
    "input_schema": None,
}


def tool(**config: Any) -> dict[str, Any]:
    return {
        "plugin_id": "langgenius/google:1.0@abc",
        "provider": "langgenius/google/google",
        "tool_name": "google_search",
        "credential_type": "api-key",
        **config,
    }


def tools_layer(*tools: dict[str, Any], name: str = "tools") -> dict[str, Any]:
    deps = {"execution_context": "context"}
    return {"name": name, "type": "dify.plugin.tools", "deps": deps, "config": {"tools": list(tools)}}


def bind(*layers: dict[str, Any]) -> Composition:
    spec = CompositionSpec.model_validate({"layers": [CONTEXT, *layers]})
    return bind_composition(spec, registry=LAYER_TYPES, on_exit=OnExit(), snapshot=None)


def shown(*tools: dict[str, Any]) -> list[ToolDefinition]:
    """What a model is offered."""
    offered: list[ToolDefinition] = []

    def answer(_: Any, info: AgentInfo) -> ModelResponse:
        offered.extend(info.function_tools)
        return ModelResponse(parts=[TextPart("done")])

    run(FunctionModel(answer), *tools)
    return offered


def run(model: FunctionModel, *tools: dict[str, Any]) -> Any:
    """Run an agent with these tools, and a daemon that nothing reaches."""

    async def scenario() -> Any:
        client = PluginDaemonClient(
            base_url="http://127.0.0.1:9",
            api_key=SecretStr("key"),
            connect_timeout=10,
            read_timeout=10,
            write_timeout=10,
            pool_timeout=None,
            max_connections=10,
            max_keepalive_connections=1,
            keepalive_expiry=1,
        )
        clients = cast(ModelClients, SimpleNamespace(plugin_daemon=client))
        (layer,) = [layer for layer in bind(tools_layer(*tools)).layers if isinstance(layer, DifyPluginToolsLayer)]
        try:
            return await Agent(model, deps_type=type(None)).run("go", toolsets=layer.toolsets(clients))
        finally:
            await client.aclose()

    return asyncio.run(scenario())


# Config


@pytest.mark.parametrize("tools", [[], [tool()], [tool(parameters=[RICH_PARAMETER])], [tool(), tool(name="again")]])
def test_a_layer_of_tools_is_bound(tools: list[dict[str, Any]]) -> None:
    assert len(bind(tools_layer(*tools)).tool_names()) == len(tools)


def test_the_context_is_required() -> None:
    with pytest.raises(InvalidComposition, match="layer 'tools': dependency 'execution_context' is missing"):
        bind({**tools_layer(tool()), "deps": {}})


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"plugin_id": ""}, "plugin_id"),
        ({"provider": ""}, "provider"),
        ({"tool_name": ""}, "tool_name"),
        ({"credential_type": "password"}, "credential_type"),
        ({"credentials": {"key": [CANARY]}}, "credentials"),
        ({"runtime_parameters": [CANARY]}, "runtime_parameters"),
        ({"secret": CANARY}, "secret"),
        ({"name": "no spaces"}, "a tool's name for the model"),
        ({"tool_name": "näme"}, "a tool's name for the model"),
        ({"name": "x" * 65}, "a tool's name for the model"),
        ({"name": "x\n"}, "a tool's name for the model"),
        ({"parameters": [{"name": "a", "type": "string"}]}, "form"),
        ({"parameters": [{"name": "a", "type": "string", "form": "hidden"}]}, "form"),
        ({"parameters": [{"name": "", "type": "string", "form": "llm"}]}, "name"),
        ({"parameters_json_schema": {"type": "array"}}, "must be the schema of an object"),
        ({"parameters_json_schema": {"properties": [CANARY]}}, "properties"),
        ({"parameters_json_schema": {"properties": {"a": CANARY}}}, "properties"),
        ({"parameters_json_schema": {"required": {"a": CANARY}}}, "required"),
        ({"parameters_json_schema": None}, "parameters_json_schema"),
    ],
)
def test_a_wrong_config_is_refused_without_repeating_a_value(config: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidComposition) as caught:
        bind(tools_layer(tool(**config)))

    assert problem in caught.value.message
    assert CANARY not in caught.value.message


@pytest.mark.parametrize(
    "layers", [[tools_layer(tool(), tool())], [tools_layer(tool()), tools_layer(tool(), name="b")]]
)
def test_two_tools_of_one_name_are_refused(layers: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidComposition, match="tool name 'google_search' is used twice"):
        bind(*layers)


def test_secrets_are_those_of_all_tools_and_show_nowhere() -> None:
    secret = {"name": "token", "type": "secret-input", "form": "form"}
    composition = bind(
        tools_layer(
            tool(credentials={"key": CANARY, "port": 1}),
            tool(name="b", parameters=[secret], runtime_parameters={"token": "tok-canary", "site": "a.org"}),
        )
    )

    assert composition.secrets() == [CANARY, "tok-canary"]
    text = "".join(f"{layer.config!r} {layer.config.model_dump_json()}" for layer in composition.layers)
    assert CANARY not in text
    assert "tok-canary" not in text
    assert "canary" not in composition.snapshot().model_dump_json()


# What the model sees


def test_a_tool_is_offered_by_its_names_and_never_strictly() -> None:
    plain, named = shown(tool(), tool(name="find", description="Find things."))

    assert (plain.name, plain.description, plain.strict) == ("google_search", "google_search", False)
    assert (named.name, named.description, named.strict) == ("find", "Find things.", False)
    assert plain.parameters_json_schema == {"type": "object", "properties": {}}


def test_hidden_parameters_are_not_in_the_schema() -> None:
    schema = {
        "properties": {"query": {"type": "string"}, "site": {"type": "string"}, "mode": {"enum": ["a"]}},
        "required": ["query", "site", "mode"],
        "additionalProperties": False,
    }
    parameters = [RICH_PARAMETER, {"name": "mode", "type": "select", "form": "form"}]

    (offered,) = shown(tool(parameters=parameters, runtime_parameters={"site": CANARY}, parameters_json_schema=schema))

    assert offered.parameters_json_schema == {
        "type": "object",
        "properties": {"query": {"type": "string"}},
        "required": ["query"],
        "additionalProperties": False,
    }
    assert CANARY not in json.dumps(offered.parameters_json_schema)


# What the model is told


def told(arguments: str | dict[str, Any], **config: Any) -> str:
    """The observation of one call."""

    def answer(messages: Any, _: AgentInfo) -> ModelResponse:
        last = messages[-1].parts[-1]
        if isinstance(last, ToolReturnPart):
            return ModelResponse(parts=[TextPart(last.model_response_str())])
        return ModelResponse(parts=[ToolCallPart("google_search", arguments)])

    return str(run(FunctionModel(answer), tool(**config)).output)


def test_a_daemon_that_cannot_be_reached_is_an_observation() -> None:
    assert told({}).startswith("The tool google_search cannot be reached now: the plugin daemon cannot be reached.")


def test_a_missing_argument_is_an_observation() -> None:
    required = {**RICH_PARAMETER, "required": True}

    assert told("{}", parameters=[required]) == (
        "The tool google_search was not called: the required parameter 'query' is missing. "
        "Call it again once this is put right, or go on without it."
    )


@pytest.mark.parametrize("number", ["NaN", "-Infinity"])
def test_an_argument_that_is_not_json_is_an_observation(number: str) -> None:
    assert "NaN and Infinity are no numbers of JSON" in told(
        f'{{"query": [{number}]}}', parameters=[{**RICH_PARAMETER, "type": "any"}]
    )


def test_arguments_that_are_not_an_object_go_back_to_the_model() -> None:
    seen: list[str] = []

    def answer(messages: Any, _: AgentInfo) -> ModelResponse:
        seen.append(str(messages[-1].parts[-1].content))
        return ModelResponse(parts=[TextPart("done")] if len(seen) > 2 else [ToolCallPart("google_search", "[1]")])

    assert run(FunctionModel(answer), tool()).output == "done"
    assert "Input should be an object" in seen[1]
