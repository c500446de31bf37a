"""Models called at their provider's own API, without Dify."""

from runtime.llm.providers.client import ProviderClient
from runtime.llm.providers.errors import ProviderError
from runtime.llm.providers.families import FAMILIES, ProviderFamily, family_of
from runtime.llm.providers.resolve import build_model
from runtime.llm.providers.target import Compatibility, ModelTarget

__all__ = [
    "FAMILIES",
    "Compatibility",
    "ModelTarget",
    "ProviderClient",
    "ProviderError",
    "ProviderFamily",
    "build_model",
    "family_of",
]
