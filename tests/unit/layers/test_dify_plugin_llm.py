"""``dify.plugin.llm``: its config, its dependencies, and what goes to the daemon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_ai.messages import ModelRequest, UserPromptPart
from pydantic_ai.models import ModelRequestParameters

from errors import InvalidComposition
from runtime.composition.binding import bind_composition, parse_layer_config
from runtime.composition.composition import Composition
from runtime.layers.dify_plugin_llm import (
    DifyPluginLlmConfig,
    DifyPluginLlmLayer,
    provider_name,
    transport_plugin_id,
)
from runtime.layers.model_layer import ModelSettingsConfig
from runtime.layers.registry import LAYER_TYPES
from runtime.llm.clients import ModelClients
from runtime.llm.plugin_daemon import PluginDaemonClient
from runtime.llm.usage import UsageLedger
from runtime.protocol.requests import CompositionSpec, OnExit
from tests.support.plugin_daemon import ScriptedDaemon, running_daemon

CANARY = "sk-canary-7f3a9"
MINIMUM: dict[str, Any] = {"model_provider": "openai", "model": "gpt"}

PLUGIN = {
    "name": "plugin",
    "type": "dify.plugin",
    "config": {"tenant_id": "tenant-p", "plugin_id": "langgenius/openai:0.1.0@abc", "user_id": "user-p"},
}
CONTEXT = {
    "name": "context",
    "type": "dify.execution_context",
    "config": {"tenant_id": "tenant-c", "invoke_from": "service-api", "user_id": "user-c"},
}


def llm(deps: dict[str, str], **config: Any) -> dict[str, Any]:
    return {"name": "llm", "type": "dify.plugin.llm", "deps": deps, "config": {**MINIMUM, **config}}


def bind(*layers: dict[str, Any]) -> Composition:
    spec = CompositionSpec.model_validate({"layers": list(layers)})
    return bind_composition(spec, registry=LAYER_TYPES, on_exit=OnExit(), snapshot=None)


def llm_layer(composition: Composition) -> DifyPluginLlmLayer:
    (found,) = [layer for layer in composition.layers if isinstance(layer, DifyPluginLlmLayer)]
    return found


# Config


def test_credentials_and_settings_may_be_absent() -> None:
    config = DifyPluginLlmConfig.model_validate(MINIMUM)

    assert config.credentials.get_secret_value() == {}
    assert config.model_settings is None
    assert config.plugin_id is None


def test_credentials_are_scalars_and_keep_their_types() -> None:
    credentials = {"key": "k", "port": 1, "ratio": 0.5, "tls": True, "none": None, "digits": "007"}

    config = DifyPluginLlmConfig.model_validate({**MINIMUM, "credentials": credentials})

    read = config.credentials.get_secret_value()
    assert read == credentials
    assert [type(value) for value in read.values()] == [type(value) for value in credentials.values()]


@pytest.mark.parametrize(
    "config",
    [
        {"model_provider": ""},
        {"model": ""},
        {"model": None},
        {"plugin_id": ""},
        {"credentials": None},
        {"credentials": [CANARY]},
        {"credentials": CANARY},
        {"credentials": {"key": [CANARY]}},
        {"credentials": {"key": {"inner": CANARY}}},
        {"credentials": {"key": CANARY}, "secret": CANARY},
        {"model_settings": []},
        {"model_settings": {"extra_headers": [CANARY]}},
    ],
)
def test_a_refused_config_never_repeats_a_credential(config: dict[str, Any]) -> None:
    whole = {**MINIMUM, **config}

    with pytest.raises(ValidationError) as plain:
        DifyPluginLlmConfig.model_validate(whole)
    with pytest.raises(InvalidComposition) as told:
        parse_layer_config(DifyPluginLlmLayer, whole, name="llm")

    assert CANARY not in str(plain.value) + repr(plain.value)
    assert CANARY not in told.value.message + repr(told.value)


@pytest.mark.parametrize("show", [str, repr, lambda config: config.model_dump_json(), lambda config: f"{config!s}"])
def test_credentials_are_in_no_text_form_of_a_config(show: Callable[[DifyPluginLlmConfig], str]) -> None:
    config = DifyPluginLlmConfig.model_validate({**MINIMUM, "credentials": {"api_key": CANARY}})

    assert CANARY not in show(config)


def test_credentials_are_the_secrets_of_the_layer() -> None:
    credentials = {"api_key": CANARY, "organization": "org-12345", "port": 8080, "none": None}

    composition = bind(CONTEXT, llm({"execution_context": "context"}, plugin_id="a/b", credentials=credentials))

    assert set(composition.secrets()) >= {CANARY, "org-12345"}
    assert CANARY not in repr(composition) + str(llm_layer(composition).config)
    assert CANARY not in composition.snapshot().model_dump_json()


def test_what_the_settings_send_besides_is_secret_as_well() -> None:
    settings = {"extra_headers": {"X-Key": "sk-header"}, "extra_body": {"deep": ["sk-in-the-body"]}}
    composition = bind(CONTEXT, llm({"execution_context": "context"}, plugin_id="a/b", model_settings=settings))

    assert composition.secrets() == ["sk-header", "sk-in-the-body"]
    assert "sk-" not in repr(llm_layer(composition).config)


# Settings

SETTINGS: dict[str, Any] = {
    "max_tokens": 10,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "timeout": 30.0,
    "parallel_tool_calls": True,
    "seed": 7,
    "presence_penalty": 0.1,
    "frequency_penalty": -0.1,
    "logit_bias": {"50256": -100},
    "stop_sequences": ["END"],
    "tool_choice": "required",
    "extra_headers": {"x-a": "b"},
    "extra_body": {"anything": [1, None, {"deep": True}]},
}


def test_all_settings_are_taken_as_they_were_given() -> None:
    assert ModelSettingsConfig.model_validate(SETTINGS).given() == SETTINGS


@pytest.mark.parametrize("key", SETTINGS)
def test_only_the_settings_that_were_given_are_used(key: str) -> None:
    assert ModelSettingsConfig.model_validate({key: SETTINGS[key]}).given() == {key: SETTINGS[key]}


def test_without_settings_nothing_is_sent() -> None:
    assert ModelSettingsConfig.model_validate({}).given() == {}


@pytest.mark.parametrize("key", [key for key in SETTINGS if key != "extra_body"])
def test_a_setting_of_null_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        ModelSettingsConfig.model_validate({key: None})


@pytest.mark.parametrize("extra_body", [None, {}, {"top_p": None}, [], "text", 1])
def test_the_extra_body_is_free(extra_body: object) -> None:
    assert ModelSettingsConfig.model_validate({"extra_body": extra_body}).given() == {"extra_body": extra_body}


@pytest.mark.parametrize(
    "settings",
    [
        {"temprature": 0.5},
        {"max_tokens": 0},
        {"max_tokens": "many"},
        {"temperature": "hot"},
        {"temperature": float("nan")},
        {"top_p": float("inf")},
        {"timeout": 0},
        {"seed": 1.5},
        {"logit_bias": {"a": "b"}},
        {"stop_sequences": "END"},
        {"stop_sequences": [1]},
        {"extra_headers": {"a": 1}},
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ModelSettingsConfig.model_validate(settings)


# Dependencies


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([llm({})], "layer 'llm': dependency 'execution_context' (or 'plugin') is missing"),
        (
            [CONTEXT, llm({"execution_context": "context"})],
            "layer 'llm': config.plugin_id is needed with the dependency 'execution_context'",
        ),
        (
            [PLUGIN, llm({"execution_context": "plugin"}, plugin_id="a/b")],
            "layer 'llm': dependency 'execution_context' must be a layer of type 'dify.execution_context', "
            "but 'plugin' is 'dify.plugin'",
        ),
        (
            [{**llm({"plugin": "plugin"}), "name": "model"}, PLUGIN],
            "layer 'model': a layer of type 'dify.plugin.llm' must be named 'llm'",
        ),
    ],
    ids=["none", "no plugin_id", "wrong type", "wrong name"],
)
def test_dependencies_that_do_not_fit_are_refused(layers: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InvalidComposition) as caught:
        bind(*layers)

    assert caught.value.message == message


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("langgenius/openai", "langgenius/openai"),
        ("langgenius/openai:0.1.0", "langgenius/openai"),
        ("langgenius/openai:0.1.0@8f3c", "langgenius/openai"),
        ("langgenius/openai@8f3c", "langgenius/openai"),
        ("openai", "openai"),
    ],
)
def test_a_plugin_id_is_sent_without_its_version(given: str, sent: str) -> None:
    assert transport_plugin_id(given) == sent


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("openai", "openai"),
        ("langgenius/openai/openai", "openai"),
        ("langgenius/gemini/google", "google"),
        ("a/b", "a/b"),
        ("a/b/c/d", "a/b/c/d"),
    ],
)
def test_a_provider_is_named_as_the_daemon_knows_it(given: str, sent: str) -> None:
    assert provider_name(given) == sent


# What the daemon sees


@asynccontextmanager
async def clients(url: str) -> AsyncIterator[ModelClients]:
    client = PluginDaemonClient(
        base_url=url,
        api_key=SecretStr("daemon-key"),
        connect_timeout=10,
        read_timeout=30,
        write_timeout=10,
        pool_timeout=None,
        max_connections=10,
        max_keepalive_connections=5,
        keepalive_expiry=5,
    )
    made = ModelClients(plugin_daemon=client)
    try:
        yield made
    finally:
        await made.aclose()


def call(daemon: ScriptedDaemon, composition: Composition) -> dict[str, Any]:
    """Call the model of a composition once; what the daemon was sent."""
    daemon.script("gpt", [{"text": "hi"}, {"finish": "stop"}])

    async def scenario() -> None:
        async with clients(daemon.url) as made:
            model = llm_layer(composition).create_model(made, UsageLedger())
            messages = [ModelRequest(parts=[UserPromptPart("Hello")])]
            await model.request(list(messages), None, ModelRequestParameters())

    asyncio.run(scenario())
    return daemon.wait_until_ended("gpt")


@pytest.fixture(scope="module")
def own_daemon() -> Any:
    with running_daemon(api_key="daemon-key") as daemon:
        yield daemon


@pytest.mark.parametrize(
    ("layers", "tenant", "user", "plugin"),
    [
        ([PLUGIN, llm({"plugin": "plugin"})], "tenant-p", "user-p", "langgenius/openai"),
        ([llm({"plugin": "plugin"}), PLUGIN], "tenant-p", "user-p", "langgenius/openai"),
        ([PLUGIN, llm({"plugin": "plugin"}, plugin_id="own/plugin:1@x")], "tenant-p", "user-p", "own/plugin"),
        (
            [CONTEXT, llm({"execution_context": "context"}, plugin_id="langgenius/gemini")],
            "tenant-c",
            "user-c",
            "langgenius/gemini",
        ),
        (
            [CONTEXT, PLUGIN, llm({"execution_context": "context", "plugin": "plugin"})],
            "tenant-c",
            "user-c",
            "langgenius/openai",
        ),
    ],
    ids=["plugin", "later plugin", "plugin and own id", "context", "both"],
)
def test_the_identity_of_a_call_comes_from_the_dependencies(
    own_daemon: ScriptedDaemon, layers: list[dict[str, Any]], tenant: str, user: str, plugin: str
) -> None:
    sent = call(own_daemon, bind(*layers))

    assert sent["path"] == f"/plugin/{tenant}/dispatch/llm/invoke"
    assert sent["headers"]["x-plugin-id"] == plugin
    assert sent["body"]["user_id"] == user


def test_the_config_goes_to_the_daemon(own_daemon: ScriptedDaemon) -> None:
    config = {
        "model_provider": "langgenius/openai/openai",
        "credentials": {"api_key": CANARY, "none": None},
        "model_settings": {"temperature": 0.5, "stop_sequences": ["END"], "extra_body": {"reasoning": "high"}},
    }

    data = call(own_daemon, bind(PLUGIN, llm({"plugin": "plugin"}, **config)))["body"]["data"]

    assert (data["provider"], data["model"]) == ("openai", "gpt")
    assert data["credentials"] == {"api_key": CANARY, "none": None}
    assert data["model_parameters"] == {"temperature": 0.5, "reasoning": "high"}
    assert data["stop"] == ["END"]


def test_a_config_given_as_a_json_string_is_the_same(own_daemon: ScriptedDaemon) -> None:
    layer = llm({"plugin": "plugin"}, credentials={"api_key": CANARY})

    data = call(own_daemon, bind(PLUGIN, {**layer, "config": json.dumps(layer["config"])}))["body"]["data"]

    assert data["credentials"] == {"api_key": CANARY}
