"""``greenrun.llm``: its config, the operator's rules, and what it keeps out of texts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from errors import InvalidComposition
from runtime.composition.binding import bind_composition
from runtime.composition.layer import NoState
from runtime.config import DefaultModelConfig, OperatorRules
from runtime.layers.default_model import InvalidDefaultModel, default_model_layer
from runtime.layers.greenrun_llm import GreenrunLlmConfig, GreenrunLlmLayer
from runtime.layers.registry import LAYER_TYPES
from runtime.llm.providers import families
from runtime.protocol.requests import CompositionSpec, OnExit

CANARY = "sk-canary-7f3a9"
KEY = {"api_key": CANARY}
OPENAI: dict[str, Any] = {"model": "openai:gpt-5", "credentials": KEY}
LOCAL: dict[str, Any] = {"model": "openai:llama", "base_url": "http://127.0.0.1:11434/v1"}
ALL = frozenset({"openai", "anthropic", "google"})
STRICT = OperatorRules(allowed_providers=ALL, allow_private_urls=False)
GENEROUS = OperatorRules(allowed_providers=ALL, allow_private_urls=True)


def bind(config: dict[str, Any], rules: OperatorRules | None) -> GreenrunLlmLayer:
    spec = CompositionSpec.model_validate({"layers": [{"name": "llm", "type": "greenrun.llm", "config": config}]})
    composition = bind_composition(spec, registry=LAYER_TYPES, on_exit=OnExit(), snapshot=None, rules=rules)
    [layer] = composition.layers
    assert isinstance(layer, GreenrunLlmLayer)
    return layer


def keys(config: dict[str, Any]) -> list[str | None]:
    parsed = GreenrunLlmConfig.model_validate(config)
    return [parsed.api_key(model) for model in parsed.models()]


# Config


@pytest.mark.parametrize("model", ["openai:gpt-5", "openai-responses:gpt-5", "anthropic:claude", "google:gemini"])
def test_a_provider_with_a_key_is_enough(model: str) -> None:
    assert bind({"model": model, "credentials": KEY}, STRICT).config.model == model


@pytest.mark.parametrize("model", ["openai:llama", "openai-responses:llama"])
@pytest.mark.parametrize("compatibility", ["openai", "generic", None])
def test_a_server_may_be_said_to_be_compatible(model: str, compatibility: str | None) -> None:
    layer = bind({**LOCAL, "model": model, "compatibility": compatibility}, GENEROUS)

    assert layer.config.compatibility == compatibility


@pytest.mark.parametrize(("model", "compatibility"), [("openai:llama", "strict"), ("anthropic:claude", "generic")])
def test_any_other_compatibility_is_refused(model: str, compatibility: str) -> None:
    with pytest.raises(InvalidComposition, match="compatibility"):
        bind({**LOCAL, "model": model, "compatibility": compatibility}, GENEROUS)


def test_a_model_name_may_hold_colons_and_slashes() -> None:
    assert bind({**LOCAL, "model": "openai:library/qwen3:8b"}, GENEROUS).config.model == "openai:library/qwen3:8b"


@pytest.mark.parametrize("model", ["gpt-5", "openai:", "openai: ", ":gpt-5", "", "nobody:gpt", "test", "OpenAI:gpt-5"])
def test_a_model_without_a_provider_or_a_name_is_refused(model: str) -> None:
    with pytest.raises(InvalidComposition, match="model: Value error, must be provider:model"):
        bind({**OPENAI, "model": model}, None)


@pytest.mark.parametrize("model", ["openai:gpt-5", "anthropic:claude", "google:gemini"])
@pytest.mark.parametrize("credentials", [{}, None])
def test_a_providers_own_api_needs_a_key(model: str, credentials: dict[str, str] | None) -> None:
    config = {"model": model} if credentials is None else {"model": model, "credentials": credentials}

    with pytest.raises(InvalidComposition, match=rf"model '{model}' needs credentials\.api_key"):
        bind(config, None)


@pytest.mark.parametrize("model", ["openai:llama", "anthropic:claude", "google:gemini"])
def test_a_base_url_needs_no_key(model: str) -> None:
    assert keys({"model": model, "base_url": "https://models.example.com/v1"}) == [None]


@pytest.mark.parametrize(
    "credentials",
    [
        {"api_key": CANARY, "organization": "x"},
        {"openai_api_key": CANARY},
        {"api_key": ""},
        {"api_key": " " + CANARY},
        {"api_key": CANARY + "\n"},
        {"api_key": CANARY + "\r\nX-Injected: 1"},
        {"api_key": CANARY + "é"},
        {"api_key": 7},
        {"api_key": None},
        {"api_key": [CANARY]},
        CANARY,
    ],
)
def test_credentials_are_an_api_key_that_fits_into_a_header(credentials: object) -> None:
    with pytest.raises(InvalidComposition, match="credentials") as caught:
        bind({**OPENAI, "credentials": credentials}, None)

    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "text"),
    [
        ("ftp://models.example.com", "must be an http:// or https:// URL"),
        ("file:///etc/passwd", "must be an http:// or https:// URL"),
        ("models.example.com/v1", "must be an http:// or https:// URL"),
        ("https:///v1", "names no host"),
        (f"https://user:{CANARY}@models.example.com", "must not hold a user name or password"),
        ("https://models.example.com/v1?version=2", "must not have a query or a fragment"),
        ("https://models.example.com/v1#top", "must not have a query or a fragment"),
        ("", "must be an http:// or https:// URL"),
    ],
)
def test_a_base_url_is_a_plain_web_address(base_url: str, text: str) -> None:
    with pytest.raises(InvalidComposition, match=text) as caught:
        bind({**OPENAI, "base_url": base_url}, None)

    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "extra",
    [
        {"provider": "openai"},
        {"model_settings": {"temprature": 1}},
        {"model_settings": {"temperature": None}},
        {"fallback_models": [{**OPENAI, "fallback_models": []}]},
        {"fallback_models": [OPENAI] * 11},
        {"fallback_models": [{"model": "nobody:gpt", "credentials": KEY}]},
    ],
)
def test_the_config_is_closed(extra: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GreenrunLlmConfig.model_validate({**OPENAI, **extra})


# Fallback models


def test_a_fallback_without_a_key_uses_the_first_models_only_in_the_same_place() -> None:
    url = "https://models.example.com/v1"

    assert keys({**OPENAI, "fallback_models": [{"model": "openai:gpt-4"}]}) == [CANARY, CANARY]
    assert keys({**OPENAI, "fallback_models": [{"model": "openai:gpt-4", "base_url": url}]}) == [CANARY, None]
    assert (
        keys({**OPENAI, "base_url": url, "fallback_models": [{"model": "openai:x", "base_url": url}]}) == [CANARY] * 2
    )


@pytest.mark.parametrize("fallback", [{"model": "anthropic:claude"}, {"model": "google:gemini"}])
def test_a_fallback_at_another_provider_needs_its_own_key(fallback: dict[str, Any]) -> None:
    with pytest.raises(InvalidComposition, match=r"needs credentials\.api_key"):
        bind({**OPENAI, "fallback_models": [fallback]}, None)


def test_a_key_for_a_base_url_is_not_sent_to_the_provider() -> None:
    with pytest.raises(InvalidComposition, match=r"model 'openai:gpt-4' needs credentials\.api_key"):
        bind({**LOCAL, "credentials": KEY, "fallback_models": [{"model": "openai:gpt-4"}]}, None)


# Rules


def test_only_allowed_providers_may_be_called() -> None:
    rules = OperatorRules(allowed_providers=frozenset({"anthropic"}), allow_private_urls=True)

    with pytest.raises(InvalidComposition, match=r"layer 'llm': model 'openai:gpt-5': .* does not allow openai"):
        bind(OPENAI, rules)
    with pytest.raises(InvalidComposition, match=r"model 'google:gemini': .* does not allow google"):
        bind(
            {
                "model": "anthropic:claude",
                "credentials": KEY,
                "fallback_models": [{"model": "google:gemini", "credentials": KEY}],
            },
            rules,
        )


def test_a_provider_without_its_package_is_refused_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = families.ProviderFamily("google", "no_such_package.genai")
    monkeypatch.setattr(families, "FAMILIES", {**families.FAMILIES, "google": missing})

    with pytest.raises(InvalidComposition, match=r"no package for google installed \(the extra 'google'"):
        bind({"model": "google:gemini", "credentials": KEY}, STRICT)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "10.1.2.3",
        "192.168.0.9",
        "169.254.1.1",
        "100.64.0.1",
        "localhost",
        "LOCALHOST.",
        "api.localhost",
        "[::]",
        "[::1]",
        "[fd00::1]",
        "[fe80::1]",
        "[::ffff:127.0.0.1]",
    ],
)
def test_a_private_address_is_refused_unless_the_operator_allows_it(host: str) -> None:
    config = {**LOCAL, "base_url": f"http://{host}:8000/v1"}

    assert bind(config, GENEROUS).config.base_url == config["base_url"]
    with pytest.raises(InvalidComposition, match="base_url names a private address"):
        bind(config, STRICT)
    with pytest.raises(InvalidComposition, match="base_url names a private address"):
        bind({**OPENAI, "fallback_models": [config]}, STRICT)


def test_a_public_address_needs_no_permission() -> None:
    assert bind({**LOCAL, "base_url": "https://models.example.com/v1"}, STRICT)
    assert bind({**LOCAL, "base_url": "http://8.8.8.8/v1"}, STRICT)


# Headers


@pytest.mark.parametrize("header", ["Transfer-Encoding", "content-length", "HOST", "Connection", "Authorization"])
@pytest.mark.parametrize("where", ["first", "fallback"])
def test_a_header_that_frames_the_call_or_is_of_the_credentials_is_refused(header: str, where: str) -> None:
    settings = {"model_settings": {"extra_headers": {header: CANARY}}}
    config = {**OPENAI, **settings} if where == "first" else {**OPENAI, "fallback_models": [{**OPENAI, **settings}]}

    with pytest.raises(InvalidComposition, match=f"extra_headers: .*{header.lower()}") as caught:
        bind(config, STRICT)

    assert CANARY not in str(caught.value)


def test_a_header_of_two_lines_is_refused() -> None:
    with pytest.raises(InvalidComposition, match=r"extra_headers: .*x-mine"):
        bind({**OPENAI, "model_settings": {"extra_headers": {"X-Mine": "a\r\nHost: b"}}}, STRICT)


# Secrets


def test_keys_extra_headers_and_keys_in_the_extra_body_are_secrets_and_not_shown() -> None:
    settings = {
        "extra_headers": {"X-Key": "sk-header"},
        "extra_body": {"user_key": "sk-in-the-body", "mode": "fast"},
    }
    fallback = {"model": "openai:gpt-4", "credentials": {"api_key": "sk-second"}, "model_settings": settings}

    layer = bind({**OPENAI, "fallback_models": [fallback]}, STRICT)

    assert layer.secrets() == [CANARY, "sk-second", "sk-header", "sk-in-the-body"]
    assert [secret for secret in layer.secrets() if secret in repr(layer.config)] == []


# The default model


def test_it_can_be_the_default_model() -> None:
    layer = default_model_layer(DefaultModelConfig("greenrun.llm", OPENAI), STRICT)

    assert isinstance(layer, GreenrunLlmLayer)
    assert layer.state == NoState()


@pytest.mark.parametrize("config", [LOCAL, {"model": "openai:gpt-5"}, {**OPENAI, "api_key": CANARY}])
def test_a_default_model_that_breaks_the_rules_stops_the_start(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidDefaultModel, match="the default model cannot be used") as caught:
        default_model_layer(DefaultModelConfig("greenrun.llm", config), STRICT)

    assert CANARY not in str(caught.value)
