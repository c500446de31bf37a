"""From the models of a request to the one that a run calls."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from pydantic_ai.models import Model

from runtime.llm.providers.client import ProviderClient
from runtime.llm.providers.fallback import ModelChain
from runtime.llm.providers.families import family_of
from runtime.llm.providers.model import DirectModel
from runtime.llm.providers.target import ModelTarget
from runtime.llm.usage import UsageLedger


def build_model(targets: Sequence[ModelTarget], client: ProviderClient, usage: UsageLedger) -> Model[Any]:
    """The first model, with the others behind it. Imports the packages of their providers."""
    models = [DirectModel(_provider_model(target, client), target.model, usage) for target in targets]
    return models[0] if len(models) == 1 else ModelChain(models)


def _provider_model(target: ModelTarget, client: ProviderClient) -> Model[Any]:
    family = import_module(f"runtime.llm.providers.{family_of(target.model).name}")
    model: Model[Any] = family.build(target, client)
    return model
