"""The providers this server can call. Their packages are extras: nothing here imports one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True, slots=True)
class ProviderFamily:
    """A provider, the package that speaks to it, and the extra of that name which installs the package."""

    name: str
    package: str

    def is_installed(self) -> bool:
        """Whether its package is there. Does not import it."""
        try:
            return find_spec(self.package) is not None
        except ModuleNotFoundError:  # of a dotted name, the first part is missing
            return False


_OPENAI = ProviderFamily("openai", "openai")

FAMILIES: Mapping[str, ProviderFamily] = {
    "openai": _OPENAI,
    "openai-responses": _OPENAI,
    "anthropic": ProviderFamily("anthropic", "anthropic"),
    "google": ProviderFamily("google", "google.genai"),
}
"""By what stands before the colon of a model. ``openai`` is its Chat Completions API, which others speak too."""


def family_of(model: str) -> ProviderFamily:
    """The provider of ``provider:model``. Raises ValueError, with a text for the caller, when it names none."""
    prefix, _, name = model.partition(":")
    family = FAMILIES.get(prefix)
    if family is None or not name.strip():
        raise ValueError(f"must be provider:model, with one of the providers {', '.join(FAMILIES)}")
    return family
