"""``greenrun.llm``: a model called at its provider's own API, without Dify, and models to fall back on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self, cast

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings

from runtime.composition.layer_config import LayerConfigModel
from runtime.config import OperatorRules
from runtime.layers.model_layer import Credentials, ModelLayer, ModelSettingsConfig, Scalar
from runtime.llm.address_guard import check_url
from runtime.llm.clients import ModelClients
from runtime.llm.providers import Compatibility, ModelTarget, build_model, family_of
from runtime.llm.usage import UsageLedger

API_KEY = "api_key"
MAX_FALLBACKS = 10


def _provider_and_model(value: str) -> str:
    family_of(value)
    return value


def _http_url(value: str) -> str:
    check_url(value, allow_private=True)
    if "?" in value or "#" in value:
        raise ValueError("must not have a query or a fragment")
    return value


def _only_an_api_key(value: Credentials) -> Credentials:
    credentials = value.get_secret_value()
    if set(credentials) - {API_KEY}:
        raise ValueError(f"knows only the key '{API_KEY}'")
    if API_KEY in credentials and _api_key(credentials) is None:
        raise ValueError(f"'{API_KEY}' must be a text of visible ASCII characters")
    return value


class DirectModelConfig(LayerConfigModel):
    """One model and what it is called with. ``base_url`` is for servers that speak the provider's API.

    ``compatibility`` says how much of OpenAI's API such a server takes; by default its address decides.
    """

    model: Annotated[str, AfterValidator(_provider_and_model)]
    base_url: Annotated[str, AfterValidator(_http_url)] | None = None
    credentials: Annotated[Credentials, AfterValidator(_only_an_api_key)] = Field(
        default_factory=lambda: Credentials({})
    )
    model_settings: ModelSettingsConfig | None = None
    compatibility: Compatibility | None = None

    @model_validator(mode="after")
    def _only_openais_api_has_compatible_servers(self) -> Self:
        if self.compatibility is not None and family_of(self.model).name != "openai":
            raise ValueError("compatibility is for models of openai and openai-responses")
        return self

    @property
    def place(self) -> tuple[str, str | None]:
        """Where its calls, and with them its key, go."""
        return family_of(self.model).name, self.base_url


class GreenrunLlmConfig(DirectModelConfig):
    """The model, and those tried in order when it fails before it has streamed anything."""

    fallback_models: list[DirectModelConfig] = Field(default_factory=list, max_length=MAX_FALLBACKS)

    def models(self) -> list[DirectModelConfig]:
        """All of them, in the order in which they are tried."""
        return [self, *self.fallback_models]

    def api_key(self, model: DirectModelConfig) -> str | None:
        """The key of one of the models; one that has none uses the first model's in the same place."""
        own = _api_key(model.credentials.get_secret_value())
        if own is None and model.place == self.place:
            return _api_key(self.credentials.get_secret_value())
        return own

    @model_validator(mode="after")
    def _every_provider_has_a_key(self) -> Self:
        for model in self.models():
            if model.base_url is None and self.api_key(model) is None:
                raise ValueError(f"model '{model.model}' needs credentials.{API_KEY}")
        return self


class GreenrunLlmLayer(ModelLayer[GreenrunLlmConfig]):
    """The model of a provider that is called directly."""

    type_id = "greenrun.llm"
    config_type = GreenrunLlmConfig

    def check_rules(self, rules: OperatorRules) -> None:
        for model in self.config.models():
            family = family_of(model.model)
            if family.name not in rules.allowed_providers:
                raise ValueError(f"model '{model.model}': this server's operator does not allow {family.name}")
            if not family.is_installed():
                raise ValueError(
                    f"model '{model.model}': this server has no package for {family.name} installed "
                    f"(the extra '{family.name}', or requirements-providers.txt)"
                )
            if model.base_url is not None:
                _check_base_url(model.base_url, allow_private=rules.allow_private_urls)

    def create_model(self, clients: ModelClients, usage: UsageLedger) -> Model[Any]:
        return build_model([self._target(model) for model in self.config.models()], clients.providers, usage)

    def _target(self, model: DirectModelConfig) -> ModelTarget:
        key = self.config.api_key(model)
        settings = model.model_settings
        return ModelTarget(
            model=model.model,
            base_url=model.base_url,
            api_key=SecretStr(key) if key is not None else None,
            settings=cast(ModelSettings, settings.given()) if settings is not None else None,
            compatibility=model.compatibility,
        )


def _check_base_url(url: str, *, allow_private: bool) -> None:
    try:
        check_url(url, allow_private=allow_private)
    except ValueError as error:
        raise ValueError(f"base_url {error}") from None


def _api_key(credentials: Mapping[str, Scalar]) -> str | None:
    key = credentials.get(API_KEY)
    return key if isinstance(key, str) and key.isascii() and key.isprintable() and key.strip() == key != "" else None
