"""What is called: a model, where it is, and with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr
from pydantic_ai.settings import ModelSettings

Compatibility = Literal["openai", "generic"]
"""Whether a server takes all that OpenAI's own does, or what servers that speak its API have in common."""

NO_KEY = "no-key"
"""Sent where no key was given: the providers' packages want one, and would look for one in the environment."""


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """One model of a request. Without a ``base_url`` it is the provider's own API, which wants a key."""

    model: str
    """As the request names it: ``openai:gpt-5``."""
    base_url: str | None = None
    api_key: SecretStr | None = None
    settings: ModelSettings | None = None
    compatibility: Compatibility | None = None
    """Decided by the address when it is not given."""

    @property
    def prefix(self) -> str:
        """What stands before the colon."""
        return self.model.partition(":")[0]

    @property
    def name(self) -> str:
        """The model's own name."""
        return self.model.partition(":")[2]

    @property
    def key(self) -> str:
        """The key to send; never empty, and never one of the server's own."""
        return self.api_key.get_secret_value() if self.api_key is not None else NO_KEY
