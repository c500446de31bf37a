"""The settings of a model in a Soul, checked and converted for the layers of a composition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, JsonValue, ValidationError

from runtime.layers.demo_llm import DemoLlmConfig
from runtime.layers.model_layer import ModelSettingsConfig
from runtime.llm.providers import Compatibility
from services.souls.problems import Problem

DEMO_PLUGIN = "greenrun/demo"
"""The plugin of the offline model."""
DIRECT_PLUGIN = "greenrun/direct"
"""The plugin of models that are called at their providers' own APIs."""

COMPATIBILITY = "compatibility"
"""The setting of a direct model that is a key of its layer, and not one of the model's own settings."""

_STOP = "stop"
_STOP_SEQUENCES = "stop_sequences"
_EXTRA_BODY = "extra_body"


def check_model_settings(plugin_id: str, settings: Mapping[str, JsonValue]) -> list[Problem]:
    """Returns what is wrong with the known settings."""
    model: type[BaseModel] = DemoLlmConfig if plugin_id == DEMO_PLUGIN else ModelSettingsConfig
    layer_settings = demo_config(settings) if plugin_id == DEMO_PLUGIN else layer_model_settings(settings)
    if not isinstance(settings.get(_EXTRA_BODY, {}), dict | None):
        return [Problem(("model_settings", _EXTRA_BODY), "must be an object")]
    if plugin_id == DIRECT_PLUGIN and settings.get(COMPATIBILITY) not in (None, *get_args(Compatibility)):
        return [Problem(("model_settings", COMPATIBILITY), f"must be one of {', '.join(get_args(Compatibility))}")]
    try:
        model.model_validate(layer_settings)
    except ValidationError as error:
        return [Problem(("model_settings", *problem["loc"]), problem["msg"]) for problem in error.errors()]
    return []


def layer_model_settings(settings: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Returns the ``model_settings`` of a model layer: without nulls, and with unknown settings in ``extra_body``."""
    given = {key: value for key, value in settings.items() if value is not None}
    stop = given.pop(_STOP, None)
    if stop is not None:
        given.setdefault(_STOP_SEQUENCES, [stop] if isinstance(stop, str) else stop)
    known = {key: value for key, value in given.items() if key in ModelSettingsConfig.model_fields}
    unknown = {key: value for key, value in given.items() if key not in known}
    extra = known.pop(_EXTRA_BODY, None)
    if unknown or extra:
        known[_EXTRA_BODY] = {**(extra if isinstance(extra, dict) else {}), **unknown}
    return known


def direct_config(settings: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Returns the settings that belong into the config of a direct model."""
    config: dict[str, Any] = {}
    if settings.get(COMPATIBILITY) is not None:
        config[COMPATIBILITY] = settings[COMPATIBILITY]
    if others := layer_model_settings({key: value for key, value in settings.items() if key != COMPATIBILITY}):
        config["model_settings"] = others
    return config


def demo_config(settings: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Returns the config of the demo model: it has settings of its own, and ignores all others."""
    return {key: value for key, value in settings.items() if value is not None and key in DemoLlmConfig.model_fields}
