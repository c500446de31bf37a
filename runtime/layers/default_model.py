"""The operator's default model: a model layer outside any composition, for runs that name none."""

from __future__ import annotations

from typing import Any

from errors import InvalidComposition
from runtime.composition.binding import parse_layer_config
from runtime.composition.layer import NoState
from runtime.config import DefaultModelConfig, OperatorRules
from runtime.layers.model_layer import MODEL_LAYER_NAME, ModelLayer
from runtime.layers.registry import LAYER_TYPES


class InvalidDefaultModel(ValueError):
    """The default model of the settings cannot work."""


def default_model_layer(
    default: DefaultModelConfig | None, rules: OperatorRules | None = None
) -> ModelLayer[Any] | None:
    """The layer that the settings describe, held to the rules as one of a request would be.

    Raises InvalidDefaultModel; its text repeats no credential of the config.
    """
    if default is None:
        return None
    layer_type = LAYER_TYPES.get(default.type)
    if layer_type is None or not issubclass(layer_type, ModelLayer):
        raise InvalidDefaultModel(f"the default model's type '{default.type}' is not a model layer")
    try:
        config = parse_layer_config(layer_type, default.config, name=MODEL_LAYER_NAME)
        layer_type.check_dependencies(config, {})
        layer = layer_type(MODEL_LAYER_NAME, config, NoState())
        if rules is not None:
            layer.check_rules(rules)
    except (InvalidComposition, ValueError) as error:
        raise InvalidDefaultModel(f"the default model cannot be used: {error}") from None
    return layer
