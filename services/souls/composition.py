"""Turns a Soul into the composition of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from errors import AgentCredentialNotFound
from runtime.layers.demo_llm import DemoLlmLayer
from runtime.layers.dify_ask_human import AskHumanLayer
from runtime.layers.dify_identity import ExecutionContextConfig, ExecutionContextLayer
from runtime.layers.dify_output import DifyOutputLayer
from runtime.layers.dify_plugin_llm import DifyPluginLlmLayer
from runtime.layers.dify_plugin_tools import DifyPluginToolsLayer
from runtime.layers.greenrun_llm import GreenrunLlmLayer
from runtime.layers.history import HistoryLayer
from runtime.layers.model_layer import MODEL_LAYER_NAME
from runtime.layers.plain_prompt import PlainPromptLayer
from runtime.protocol.requests import CompositionSpec, LayerSpec
from services.souls.model_settings import DEMO_PLUGIN, DIRECT_PLUGIN, demo_config, direct_config, layer_model_settings
from services.souls.node_job import WorkflowNodeJobConfig
from services.souls.outputs import outputs_schema
from services.souls.problems import Problem, refuse_request
from services.souls.publishing import check_tool_names, require_model
from services.souls.soul import AgentSoulConfig, ModelConfig
from services.souls.tools import DifyTool, ToolIdentity
from services.souls.variables import MAX_FILLED_CHARS, FilledTextTooLong, fill_prompt, filled_inputs

SOUL_PROMPT = "agent_soul_prompt"
JOB_PROMPT = "workflow_node_job_prompt"
NODE_USER_PROMPT = "workflow_user_prompt"
USER_PROMPT = "user_prompt"
EXECUTION_CONTEXT = "execution_context"
HISTORY = "history"
TOOLS = "tools"
ASK_HUMAN = "ask_human"
OUTPUT = "output"

BASE_URL = "base_url"
"""The value of a direct provider's credential that says where its API is; all other values are secret."""

JOB_FALLBACK = "Work on the task that the workflow gives you, and bring the outputs it asks for."
OUTPUT_DESCRIPTION = "The outputs of this workflow node. Call it once, when the work is done."

CredentialValues = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class ToolDeclaration:
    """What a plugin says about one of its tools."""

    parameters: Sequence[Mapping[str, Any]] = ()
    parameters_json_schema: Mapping[str, Any] = field(default_factory=dict)
    description: str | None = None


def composition_of(
    soul: AgentSoulConfig,
    *,
    query: str,
    context: ExecutionContextConfig,
    inputs: Mapping[str, JsonValue] | None = None,
    credentials: Mapping[str, CredentialValues] | None = None,
    declarations: Mapping[ToolIdentity, ToolDeclaration] | None = None,
    node_job: WorkflowNodeJobConfig | None = None,
    with_history: bool = False,
) -> CompositionSpec:
    """Returns the composition of one run.

    ``query`` is the user's prompt; for a node, the text of its context. It may be empty only when a run is resumed.
    ``context`` says on whose behalf the run is, and ``inputs`` are the values of the app variables.

    ``credentials`` are the values of each credential in ``credential_names(soul)``, by name. The composition contains
    them in plain text, so it must not be stored or logged.

    ``declarations`` are what is known of the plugins' tools. A tool without one accepts any arguments.

    ``node_job`` is that of a workflow node, whose outputs the run must then return.

    ``with_history`` says whether the run is one of a conversation. A Soul with people to ask always has a history,
    since the answer to a question comes in the next run.

    Raises AgentModelNotConfigured, AgentToolNameDuplicated, AgentCredentialNotFound, and MalformedRequest for inputs.
    """
    model = require_model(soul)
    check_tool_names(soul)
    values = filled_inputs(soul.app_variables, inputs or {})
    known = credentials or {}
    asks = bool(soul.human.contacts or (node_job and node_job.human_contacts))
    tools = soul.tools.enabled_tools()
    layers = [*_prompts(_system_prompt(soul, values), query, node_job), _context(context)]
    if with_history or asks:
        layers.append(LayerSpec(name=HISTORY, type=HistoryLayer.type_id))
    layers.append(_model_layer(model, known))
    if tools:
        configs = [_tool_config(tool, known, declarations or {}) for tool in tools]
        layers.append(_daemon_layer(TOOLS, DifyPluginToolsLayer.type_id, {"tools": configs}))
    if asks:
        layers.append(LayerSpec(name=ASK_HUMAN, type=AskHumanLayer.type_id))
    if node_job is not None:
        config = {"json_schema": outputs_schema(node_job.effective_outputs()), "description": OUTPUT_DESCRIPTION}
        layers.append(LayerSpec(name=OUTPUT, type=DifyOutputLayer.type_id, config=config))
    return CompositionSpec(layers=layers)


def _system_prompt(soul: AgentSoulConfig, values: Mapping[str, JsonValue]) -> str:
    """Returns the system prompt with the variables filled in. Raises MalformedRequest."""
    try:
        return fill_prompt(soul.prompt.system_prompt, values)
    except FilledTextTooLong:
        message = f"the prompt would have more than {MAX_FILLED_CHARS:,} characters with the inputs in it"
        refuse_request([Problem((), message, "too_long")], "body", "inputs")


def _prompts(system_prompt: str, query: str, node_job: WorkflowNodeJobConfig | None) -> Iterator[LayerSpec]:
    if system_prompt.strip():
        yield _prompt(SOUL_PROMPT, "agent_soul", prefix=system_prompt)
    if node_job is None:
        yield _prompt(USER_PROMPT, "user", user=query)
        return
    job = node_job.workflow_prompt if node_job.workflow_prompt.strip() else JOB_FALLBACK
    yield _prompt(JOB_PROMPT, "workflow_node_job", prefix=job)
    yield _prompt(NODE_USER_PROMPT, "workflow_user_prompt", user=query)


def _prompt(name: str, origin: str, **texts: str) -> LayerSpec:
    return LayerSpec(name=name, type=PlainPromptLayer.type_id, config=dict(texts), metadata={"origin": origin})


def _context(context: ExecutionContextConfig) -> LayerSpec:
    config = context.model_dump(mode="json", exclude_none=True)
    return LayerSpec(name=EXECUTION_CONTEXT, type=ExecutionContextLayer.type_id, config=config)


def _daemon_layer(name: str, type_id: str, config: dict[str, Any]) -> LayerSpec:
    return LayerSpec(name=name, type=type_id, config=config, deps={"execution_context": EXECUTION_CONTEXT})


def _model_layer(model: ModelConfig, credentials: Mapping[str, CredentialValues]) -> LayerSpec:
    ref = model.credential_ref
    values = _values_of(ref.id, credentials) if ref is not None and ref.id else {}
    if model.plugin_id == DEMO_PLUGIN:
        return LayerSpec(name=MODEL_LAYER_NAME, type=DemoLlmLayer.type_id, config=demo_config(model.model_settings))
    config: dict[str, Any] = {"model": model.model}
    if model.plugin_id == DIRECT_PLUGIN:
        config |= direct_config(model.model_settings)
        config["credentials"] = {name: value for name, value in values.items() if name != BASE_URL}
        if values.get(BASE_URL) is not None:
            config[BASE_URL] = values[BASE_URL]
        return LayerSpec(name=MODEL_LAYER_NAME, type=GreenrunLlmLayer.type_id, config=config)
    if settings := layer_model_settings(model.model_settings):
        config["model_settings"] = settings
    config |= {"plugin_id": model.plugin_id, "model_provider": model.model_provider}
    config["credentials"] = {name: _scalar(value) for name, value in values.items()}
    return _daemon_layer(MODEL_LAYER_NAME, DifyPluginLlmLayer.type_id, config)


def _scalar(value: JsonValue) -> JsonValue:
    """Returns a value in the form in which plugins accept it for a model's credentials: a scalar, or else its JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _tool_config(
    tool: DifyTool,
    credentials: Mapping[str, CredentialValues],
    declarations: Mapping[ToolIdentity, ToolDeclaration],
) -> dict[str, Any]:
    plugin_id, provider = tool.place
    declaration = declarations.get(tool.identity)
    description = tool.description or (declaration.description if declaration else None)
    config: dict[str, Any] = {
        "plugin_id": plugin_id,
        "provider": provider,
        "tool_name": tool.tool_name,
        "credential_type": tool.credential_type,
        "runtime_parameters": tool.runtime_parameters,
        "parameters": [dict(parameter) for parameter in declaration.parameters] if declaration else [],
        "parameters_json_schema": dict(declaration.parameters_json_schema) if declaration else _any_arguments(),
    }
    if description:
        config["description"] = description
    ref = tool.credential_ref
    if tool.credential_type != "unauthorized" and ref is not None and ref.id:
        config["credentials"] = dict(_values_of(ref.id, credentials))
    return config


def _any_arguments() -> dict[str, Any]:
    return {"type": "object", "properties": {}, "additionalProperties": True}


def _values_of(name: str, credentials: Mapping[str, CredentialValues]) -> CredentialValues:
    if name not in credentials:
        raise AgentCredentialNotFound(f"the agent names the credential '{name}', which is not there")
    return credentials[name]
