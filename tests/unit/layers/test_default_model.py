"""The operator's default model."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.config import DefaultModelConfig
from runtime.layers.default_model import InvalidDefaultModel, default_model_layer
from runtime.layers.demo_llm import DemoLlmLayer

CANARY = "sk-canary-7f3a9"


def test_no_setting_means_no_default_model() -> None:
    assert default_model_layer(None) is None


def test_the_demo_model_can_be_the_default() -> None:
    layer = default_model_layer(DefaultModelConfig("greenrun.demo_llm", {"answer": "42"}))

    assert isinstance(layer, DemoLlmLayer)
    assert layer.config.answer == "42"


@pytest.mark.parametrize("type_id", ["nothing", "", "plain.prompt", "pydantic_ai.history"])
def test_a_layer_type_that_is_no_model_is_refused(type_id: str) -> None:
    with pytest.raises(InvalidDefaultModel, match="is not a model layer"):
        default_model_layer(DefaultModelConfig(type_id, {}))


@pytest.mark.parametrize(
    ("type_id", "config"),
    [
        ("greenrun.demo_llm", {"answer": [CANARY]}),
        ("greenrun.demo_llm", {"api_key": CANARY}),
        ("dify.plugin.llm", {"model_provider": "openai", "model": "gpt", "credentials": {"api_key": [CANARY]}}),
        ("dify.plugin.llm", {"model_provider": "openai", "model": "gpt", "credentials": {"api_key": CANARY}}),
    ],
    ids=["wrong type", "extra", "bad credentials", "needs other layers"],
)
def test_a_wrong_config_is_refused_without_repeating_it(type_id: str, config: dict[str, Any]) -> None:
    with pytest.raises(InvalidDefaultModel, match="the default model cannot be used") as caught:
        default_model_layer(DefaultModelConfig(type_id, config))

    assert CANARY not in str(caught.value)


def test_the_text_form_of_the_setting_shows_no_config() -> None:
    assert CANARY not in repr(DefaultModelConfig("dify.plugin.llm", {"credentials": {"api_key": CANARY}}))
