"""A Soul becomes a composition that can run."""

from __future__ import annotations

from typing import Any

import pytest

from errors import (
    AgentCredentialNotFound,
    AgentModelNotConfigured,
    AgentToolNameDuplicated,
    InvalidComposition,
    MalformedRequest,
)
from runtime.composition.composition import Composition
from runtime.config import OperatorRules
from runtime.layers.dify_identity import ExecutionContextConfig
from runtime.protocol.dialects import Dialect, choose_dialect
from runtime.protocol.requests import CompositionSpec, CreateRunRequest, LayerSpec
from services.run_checks import proven_run
from services.souls import ToolDeclaration, composition_of, parse_node_job, parse_soul
from tests.unit.souls.documents import DEMO, SEARCH

CONTEXT = ExecutionContextConfig(tenant_id="t1", invoke_from="service-api", agent_id="a1", agent_config_version_id="v1")
PLUGIN = {"plugin_id": "langgenius/openai:0.1@abc", "model_provider": "openai", "model": "gpt-4o"}
DIRECT = {"plugin_id": "greenrun/direct", "model_provider": "openai", "model": "openai:gpt-4o"}
REF = {"type": "provider", "id": "my-openai", "provider": "openai"}
RULES = OperatorRules(allowed_providers=frozenset({"openai"}))


def build(soul: dict[str, Any], *, job: dict[str, Any] | None = None, **rest: Any) -> CompositionSpec:
    given = {"query": "What is the weather?", "context": CONTEXT, **rest}
    return composition_of(parse_soul(soul), node_job=None if job is None else parse_node_job(job), **given)


def prove(spec: CompositionSpec) -> Composition:
    """What a run would be made of. Raises InvalidComposition when it could not run."""
    request = CreateRunRequest(composition=spec)
    return proven_run(request, choose_dialect(request), RULES).composition


def layer(spec: CompositionSpec, name: str) -> LayerSpec:
    return next(part for part in spec.layers if part.name == name)


def config(spec: CompositionSpec, name: str) -> dict[str, Any]:
    return layer(spec, name).config or {}


def names(spec: CompositionSpec) -> list[str]:
    return [part.name for part in spec.layers]


def test_the_demo_agent_runs_without_anything_else() -> None:
    spec = build({"model": DEMO, "prompt": {"system_prompt": "Be kind."}})

    composition = prove(spec)

    assert names(spec) == ["agent_soul_prompt", "user_prompt", "execution_context", "llm"]
    assert layer(spec, "llm").type == "greenrun.demo_llm"
    assert composition.user_prompts() == ["What is the weather?"]
    assert composition.system_prompts() == ["Be kind."]
    assert choose_dialect(CreateRunRequest(composition=spec)) is Dialect.CURRENT


def test_the_demo_model_takes_its_own_settings_and_no_others() -> None:
    spec = build({"model": {**DEMO, "model_settings": {"delay_ms": 5, "temperature": 0.5, "answer": None}}})

    prove(spec)

    assert config(spec, "llm") == {"delay_ms": 5}


def test_a_model_of_a_plugin_is_called_with_its_credentials_and_settings() -> None:
    settings = {"temperature": 0.5, "max_tokens": 10, "stop": "END", "top_p": None, "reasoning": "low"}
    spec = build(
        {"model": {**PLUGIN, "credential_ref": REF, "model_settings": settings}},
        credentials={"my-openai": {"openai_api_key": "canary", "retries": 3, "headers": {"a": 1}}},
    )

    prove(spec)

    assert layer(spec, "llm").deps == {"execution_context": "execution_context"}
    assert config(spec, "llm") == {
        "plugin_id": "langgenius/openai:0.1@abc",
        "model_provider": "openai",
        "model": "gpt-4o",
        "credentials": {"openai_api_key": "canary", "retries": 3, "headers": '{"a": 1}'},
        "model_settings": {
            "temperature": 0.5,
            "max_tokens": 10,
            "stop_sequences": ["END"],
            "extra_body": {"reasoning": "low"},
        },
    }


@pytest.mark.parametrize("ref", [None, {"type": "provider"}])
def test_a_model_without_a_credential_is_called_with_none(ref: dict[str, Any] | None) -> None:
    spec = build({"model": {**PLUGIN, "credential_ref": ref}})

    prove(spec)

    assert config(spec, "llm")["credentials"] == {}


def test_a_direct_model_is_called_at_its_provider() -> None:
    spec = build(
        {"model": {**DIRECT, "credential_ref": REF, "model_settings": {"temperature": 1}}},
        credentials={"my-openai": {"api_key": "canary", "base_url": "https://example.com/v1"}},
    )

    prove(spec)

    assert layer(spec, "llm").type == "greenrun.llm"
    assert config(spec, "llm") == {
        "model": "openai:gpt-4o",
        "credentials": {"api_key": "canary"},
        "base_url": "https://example.com/v1",
        "model_settings": {"temperature": 1},
    }


def test_a_direct_model_says_how_compatible_its_server_is() -> None:
    spec = build(
        {"model": {**DIRECT, "credential_ref": REF, "model_settings": {"compatibility": "generic"}}},
        credentials={"my-openai": {"api_key": "canary", "base_url": "https://example.com/v1"}},
    )

    prove(spec)

    assert config(spec, "llm")["compatibility"] == "generic"
    assert "model_settings" not in config(spec, "llm")


def test_a_direct_model_without_a_key_cannot_run() -> None:
    with pytest.raises(InvalidComposition, match="api_key"):
        prove(build({"model": DIRECT}))


def test_a_missing_credential_is_named() -> None:
    with pytest.raises(AgentCredentialNotFound, match="my-openai"):
        build({"model": {**PLUGIN, "credential_ref": REF}})
    with pytest.raises(AgentCredentialNotFound, match="search-key"):
        build({"model": DEMO, "tools": {"dify_tools": [SEARCH]}})


def test_an_agent_without_a_model_cannot_run() -> None:
    with pytest.raises(AgentModelNotConfigured):
        build({})


def test_tools_are_prepared_and_disabled_ones_left_out() -> None:
    tools = [
        {**SEARCH, "runtime_parameters": {"lang": "en"}, "description": "Searches"},
        {**SEARCH, "tool_name": "off", "enabled": False, "credential_ref": {"type": "tool", "id": "gone"}},
        {"provider_id": "jina", "tool_name": "read", "credential_type": "unauthorized"},
    ]
    spec = build({"model": DEMO, "tools": {"dify_tools": tools}}, credentials={"search-key": {"key": "canary"}})

    composition = prove(spec)

    search, read = config(spec, "tools")["tools"]
    assert composition.tool_names() == ["google_search", "read"]
    assert (search["plugin_id"], search["provider"], search["tool_name"]) == (
        "langgenius/google",
        "google",
        "google_search",
    )
    assert search["credentials"] == {"key": "canary"}
    assert search["runtime_parameters"] == {"lang": "en"}
    assert search["description"] == "Searches"
    assert search["parameters_json_schema"]["additionalProperties"] is True
    assert (read["plugin_id"], read["credential_type"]) == ("langgenius/jina_tool", "unauthorized")
    assert "credentials" not in read


def test_a_tool_has_what_its_plugin_declares() -> None:
    declaration = ToolDeclaration(
        parameters=[{"name": "query", "type": "string", "form": "llm", "required": True}],
        parameters_json_schema={"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
        description="Searches the web",
    )
    soul = {"model": DEMO, "tools": {"dify_tools": [SEARCH]}}

    spec = build(
        soul,
        credentials={"search-key": {}},
        declarations={("langgenius/google", "google", "google_search"): declaration},
    )

    prove(spec)
    (search,) = config(spec, "tools")["tools"]
    assert search["parameters"] == declaration.parameters
    assert search["parameters_json_schema"] == declaration.parameters_json_schema
    assert search["description"] == "Searches the web"


def test_two_enabled_tools_of_one_name_are_refused() -> None:
    tools = [SEARCH, {**SEARCH, "provider_id": "acme/search/search"}]

    with pytest.raises(AgentToolNameDuplicated):
        build({"model": DEMO, "tools": {"dify_tools": tools}}, credentials={"search-key": {}})


def test_an_agent_with_people_to_ask_has_the_tool_and_a_history() -> None:
    spec = build({"model": DEMO, "human": {"contacts": [{"contact_id": "c1"}]}})

    assert prove(spec).tool_names() == ["ask_human"]
    assert names(spec)[-3:] == ["history", "llm", "ask_human"]


def test_a_conversation_has_a_history_and_a_single_run_has_none() -> None:
    with_one, without = build({"model": DEMO}, with_history=True), build({"model": DEMO})

    prove(with_one)
    assert layer(with_one, "history").type == "pydantic_ai.history"
    assert "history" not in names(without)


def test_a_workflow_node_has_its_job_and_brings_its_outputs() -> None:
    spec = build(
        {"model": PLUGIN, "prompt": {"system_prompt": "Be kind."}, "tools": {"dify_tools": [SEARCH]}},
        job={
            "workflow_prompt": "Write the report.",
            "declared_outputs": [{"name": "report", "type": "file"}, {"name": "tags", "type": "array"}],
            "human_contacts": [{"id": "h1"}],
        },
        credentials={"search-key": {}},
        with_history=True,
    )

    composition = prove(spec)

    assert names(spec) == [
        "agent_soul_prompt",
        "workflow_node_job_prompt",
        "workflow_user_prompt",
        "execution_context",
        "history",
        "llm",
        "tools",
        "ask_human",
        "output",
    ]
    assert composition.system_prompts()[:2] == ["Be kind.", "Write the report."]
    assert config(spec, "output")["json_schema"]["required"] == ["report", "tags"]


def test_a_node_without_a_prompt_or_outputs_has_the_usual_ones() -> None:
    spec = build({"model": DEMO}, job={"workflow_prompt": " "})

    prove(spec)

    assert config(spec, "workflow_node_job_prompt")["prefix"].strip()
    assert list(config(spec, "output")["json_schema"]["properties"]) == ["text", "files", "json"]


def test_a_run_says_on_whose_behalf_it_is() -> None:
    assert config(build({"model": DEMO}), "execution_context") == {
        "tenant_id": "t1",
        "invoke_from": "service-api",
        "agent_id": "a1",
        "agent_config_version_id": "v1",
    }


VARIABLES = [
    {"name": "city", "type": "text", "required": True},
    {"name": "days", "type": "number", "default": 3},
    {"name": "metric", "type": "boolean"},
]


def weather(inputs: dict[str, Any]) -> str:
    """The system prompt that a run with these inputs has."""
    prompt = "City: {{city}}; {{ days }} days; {{metric}}; {{other}}"
    spec = build({"model": DEMO, "prompt": {"system_prompt": prompt}, "app_variables": VARIABLES}, inputs=inputs)
    prove(spec)
    return str(config(spec, "agent_soul_prompt")["prefix"])


@pytest.mark.parametrize(
    ("inputs", "prompt"),
    [
        ({"city": "Paris"}, "City: Paris; 3 days; ; {{other}}"),
        ({"city": "Paris", "days": 1.5, "metric": True}, "City: Paris; 1.5 days; true; {{other}}"),
        ({"city": "Paris", "days": None, "unknown": 1}, "City: Paris; 3 days; ; {{other}}"),
        ({"city": "Paris", "days": "", "metric": ""}, "City: Paris; 3 days; ; {{other}}"),
        ({"city": "{{days}}\\1"}, "City: {{days}}\\1; 3 days; ; {{other}}"),
    ],
)
def test_inputs_fill_the_variables_of_the_prompt(inputs: dict[str, Any], prompt: str) -> None:
    assert weather(inputs) == prompt


@pytest.mark.parametrize(
    ("inputs", "places"),
    [
        ({}, [["body", "inputs", "city"]]),
        ({"city": ""}, [["body", "inputs", "city"]]),
        ({"city": None, "days": "three"}, [["body", "inputs", "city"], ["body", "inputs", "days"]]),
        ({"city": 7}, [["body", "inputs", "city"]]),
        ({"city": "Paris", "days": True}, [["body", "inputs", "days"]]),
        ({"city": "Paris", "metric": 1}, [["body", "inputs", "metric"]]),
    ],
)
def test_inputs_that_are_missing_or_of_another_type_are_refused(
    inputs: dict[str, Any], places: list[list[str]]
) -> None:
    with pytest.raises(MalformedRequest) as caught:
        weather(inputs)

    assert [item["loc"] for item in caught.value.items] == places


def test_a_prompt_that_inputs_would_blow_up_is_refused_before_it_is_made() -> None:
    soul = {"model": DEMO, "prompt": {"system_prompt": "{{city}}" * 1250}, "app_variables": VARIABLES}

    with pytest.raises(MalformedRequest) as refused:
        build(soul, inputs={"city": "x" * 100_000})

    assert refused.value.items[0]["loc"] == ["body", "inputs"]
    assert "1,048,576 characters" in str(refused.value.items[0]["msg"])
    spec = build(soul, inputs={"city": "x" * 800})
    assert prove(spec).system_prompts() == ["x" * 1_000_000]
