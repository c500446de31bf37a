"""``plain.prompt``."""

from __future__ import annotations

from typing import Any

import pytest

from errors import InvalidComposition
from runtime.composition.binding import parse_layer_config
from runtime.composition.layer import NoState
from runtime.layers.plain_prompt import PlainPromptConfig, PlainPromptLayer


def layer(**config: Any) -> PlainPromptLayer:
    return PlainPromptLayer("prompt", PlainPromptConfig.model_validate(config), NoState())


def test_each_text_has_its_place() -> None:
    prompt = layer(prefix="before", user="Hello", suffix="after")

    assert prompt.system_prefixes() == ["before"]
    assert prompt.user_prompts() == ["Hello"]
    assert prompt.system_suffixes() == ["after"]


def test_each_may_be_a_list() -> None:
    prompt = layer(prefix=["a", "b"], user=["c", "d"], suffix=["e"])

    assert (prompt.system_prefixes(), prompt.user_prompts(), prompt.system_suffixes()) == (
        ["a", "b"],
        ["c", "d"],
        ["e"],
    )


def test_a_prompt_without_texts_adds_nothing() -> None:
    prompt = layer()

    assert (prompt.system_prefixes(), prompt.user_prompts(), prompt.system_suffixes()) == ([], [], [])


def test_blank_texts_are_no_prompts_and_others_are_kept_as_written() -> None:
    assert layer(user=["", "  ", "\n", " Hello \n"]).user_prompts() == [" Hello \n"]


@pytest.mark.parametrize(
    "config",
    [
        {"user": None},
        {"user": 1},
        {"user": [1]},
        {"user": [["a"]]},
        {"user": {"text": "a"}},
        {"text": "a"},
        {"prefix": True},
    ],
)
def test_another_shape_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidComposition, match="config is invalid"):
        parse_layer_config(PlainPromptLayer, config, name="prompt")
