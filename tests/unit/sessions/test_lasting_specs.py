"""Which layers of a turn a session keeps in the clear."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.composition.layer import Layer, NoState
from runtime.composition.layer_config import NoConfig
from runtime.layers import registry
from runtime.protocol.requests import LayerSpec
from services.sessions import compositions
from services.sessions.compositions import lasting_specs

CONTEXT = {"tenant_id": "t1", "invoke_from": "service-api"}


class SilentLayer(Layer[NoConfig, NoState]):
    """A new type, whose class says nothing."""

    type_id = "test.silent"


class OpenLayer(Layer[NoConfig, NoState]):
    """A type that may last."""

    type_id = "test.open"
    config_may_last = True


@pytest.fixture(autouse=True)
def _layer_types(monkeypatch: pytest.MonkeyPatch) -> None:
    types = {**registry.LAYER_TYPES, SilentLayer.type_id: SilentLayer, OpenLayer.type_id: OpenLayer}
    monkeypatch.setattr(compositions, "LAYER_TYPES", types)


def spec(name: str, type_id: str, config: dict[str, Any] | None = None) -> LayerSpec:
    return LayerSpec(name=name, type=type_id, config=config)


def names(*layers: LayerSpec, before: list[dict[str, Any]] | None = None) -> list[str]:
    return [kept["name"] for kept in lasting_specs(layers, before=before or [])]


def test_a_layer_type_that_declares_nothing_is_not_kept() -> None:
    assert names(spec("a", "test.silent"), spec("b", "test.open"), spec("c", "test.unknown")) == ["b"]


def test_prompts_and_models_are_not_kept() -> None:
    layers = [spec("prompt", "plain.prompt", {"user": "Hi"}), spec("llm", "greenrun.demo_llm")]

    assert names(*layers, spec("history", "pydantic_ai.history")) == ["history"]


def test_layers_of_the_turns_before_stay_where_their_type_may_last() -> None:
    before: list[dict[str, Any]] = [
        {"name": "a", "type": "test.open", "deps": {}, "config": {"of": "before"}},
        {"name": "b", "type": "test.silent", "deps": {}, "config": {"key": "stored by an earlier version"}},
        {"name": "c", "type": "test.open", "deps": {}, "config": None},
    ]

    kept = lasting_specs([spec("a", "test.open")], before=before)

    assert [(one["name"], one["config"]) for one in kept] == [("a", None), ("c", None)]


def test_what_is_kept_is_what_a_cleanup_is_made_of_and_no_metadata() -> None:
    layer = LayerSpec(name="context", type="dify.execution_context", config=CONTEXT, metadata={"note": "for nobody"})

    (kept,) = lasting_specs([layer], before=[])

    assert kept == {"name": "context", "type": "dify.execution_context", "deps": {}, "config": CONTEXT}
    assert LayerSpec.model_validate(kept).config == CONTEXT
