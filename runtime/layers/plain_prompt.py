"""``plain.prompt``: system and user prompts given as text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from runtime.composition.layer import Layer, NoState
from runtime.composition.layer_config import LayerConfigModel

MAX_TEXTS = 1000

Texts = str | Annotated[list[str], Field(max_length=MAX_TEXTS)]


class PlainPromptConfig(LayerConfigModel):
    """Each is a text or a list of texts. ``prefix`` and ``suffix`` go to the system prompt."""

    prefix: Texts = Field(default_factory=list)
    user: Texts = Field(default_factory=list)
    suffix: Texts = Field(default_factory=list)


class PlainPromptLayer(Layer[PlainPromptConfig, NoState]):
    """Prompts as they were written."""

    type_id = "plain.prompt"
    config_type = PlainPromptConfig

    def system_prefixes(self) -> list[str]:
        return _texts(self.config.prefix)

    def system_suffixes(self) -> list[str]:
        return _texts(self.config.suffix)

    def user_prompts(self) -> list[str]:
        return _texts(self.config.user)


def _texts(value: Texts) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    return [text for text in texts if text.strip()]
