"""What holds of every layer type that this server knows."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from runtime.composition.layer import Layer, NoState
from runtime.composition.layer_config import LayerConfigModel, NoConfig
from runtime.layers.registry import LAYER_TYPES

SECRETS = (Secret, SecretStr, SecretBytes)

every_layer_type = pytest.mark.parametrize("layer_type", LAYER_TYPES.values(), ids=LAYER_TYPES)


def types_in(annotation: Any) -> set[type]:
    """Every class in a type, and in the fields of the models there."""
    if not isinstance(annotation, type) or get_args(annotation):
        return {found for part in get_args(annotation) for found in types_in(part)} | types_of_origin(annotation)
    if not issubclass(annotation, BaseModel):
        return {annotation}
    return {found for field in annotation.model_fields.values() for found in types_in(field.annotation)}


def types_of_origin(annotation: Any) -> set[type]:
    origin = getattr(annotation, "__origin__", None)
    return {origin} if isinstance(origin, type) else set()


def holds_a_secret(config_type: type[BaseModel]) -> bool:
    return any(issubclass(found, SECRETS) for found in types_in(config_type))


@every_layer_type
def test_a_config_that_may_last_has_no_secret_field(layer_type: type[Layer[Any, Any]]) -> None:
    assert not (layer_type.config_may_last and holds_a_secret(layer_type.config_type))


@every_layer_type
def test_no_state_has_a_secret_field(layer_type: type[Layer[Any, Any]]) -> None:
    assert layer_type.state_type is NoState or not holds_a_secret(layer_type.state_type)


@every_layer_type
def test_a_layer_tells_its_identity_exactly_when_its_config_names_a_tenant(layer_type: type[Layer[Any, Any]]) -> None:
    assert layer_type.tells_identity == ("tenant_id" in layer_type.config_type.model_fields)


def test_secret_fields_are_found_wherever_they_are() -> None:
    found = {type_id for type_id, layer_type in LAYER_TYPES.items() if holds_a_secret(layer_type.config_type)}

    assert found == {"dify.plugin.llm", "dify.plugin.tools", "greenrun.llm", "greenrun.mcp"}


def test_a_class_that_says_nothing_keeps_its_config_to_itself() -> None:
    class SilentLayer(Layer[NoConfig, NoState]):
        type_id = "test.silent"

    assert (SilentLayer.config_may_last, SilentLayer.tells_identity) == (False, False)
    assert issubclass(SilentLayer.config_type, LayerConfigModel)
