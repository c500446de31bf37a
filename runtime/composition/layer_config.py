"""Configs of layers, and which of their values are secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict, Secret, SecretBytes, SecretStr

MIN_UNMARKED_SECRET = 12
"""The least length of a text that may be a secret: a shorter one is more likely an ordinary word."""

WITH_SCHEME = frozenset({"authorization", "proxy-authorization"})


class LayerConfigModel(BaseModel):
    """Base of layer configs. It forbids unknown keys, so that a misspelt key is refused."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    def secret_values(self) -> Iterator[str]:
        """Yields values that no text may show to callers or logs: those of its ``Secret`` fields and of nested configs.

        A config overrides this if something else is secret, or if only a part of a field is.
        """
        for _, value in self:
            yield from _secrets_in(value)


class NoConfig(LayerConfigModel):
    """The config of a layer that has none: null or an empty object."""


def texts_in(value: object) -> Iterator[str]:
    """Yields all strings in a JSON value except keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from texts_in(item)


def header_secrets(headers: Mapping[str, str]) -> Iterator[str]:
    """Yields the values of HTTP headers, and the key after a scheme ("Bearer key"), which is secret by itself."""
    for name, value in headers.items():
        yield value
        if name.lower() in WITH_SCHEME:
            yield from value.split()[1:]


def unmarked_secrets(value: object) -> Iterator[str]:
    """Yields the strings of a JSON value in which callers put credentials, among other things."""
    return (text for text in texts_in(value) if len(text) >= MIN_UNMARKED_SECRET)


def _secrets_in(value: object) -> Iterator[str]:
    if isinstance(value, LayerConfigModel):
        yield from value.secret_values()
    elif isinstance(value, SecretBytes):
        yield value.get_secret_value().decode(errors="replace")
    elif isinstance(value, Secret | SecretStr):
        yield from texts_in(value.get_secret_value())
    elif isinstance(value, BaseModel):
        for _, part in value:
            yield from _secrets_in(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _secrets_in(part)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _secrets_in(part)
