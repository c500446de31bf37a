"""Finds plaintext secrets in a document: by the names of values, and by the shapes of well-known keys.

Only references to secrets may be stored. Not every secret can be found: one that has neither a telling name nor a known
shape looks like any text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import islice

from runtime.protocol.json_text import InvalidJson, read_json
from services.souls.bounds import bound_problem, plain
from services.souls.problems import Loc, Problem
from services.souls.secret_names import (
    is_safe_in_credentials,
    is_secret_type,
    names_credentials,
    names_reference,
    names_secret,
    names_value,
)
from services.souls.secret_shapes import shows_secret

MAX_FOUND = 50
MAX_SHOWN_KEY_CHARS = 60
HIDDEN_KEY = "…"
"""Replaces a key in a path that is itself a secret."""
MAX_INNER_TEXTS = 3
"""How many levels of JSON inside texts of JSON are searched; no reader would look any deeper either."""

_NAME_KEYS = ("name", "key", "variable", "header", "field", "env", "env_name", "env_key", "label")
_TYPE_KEYS = ("type", "value_type", "format")


class _Under(Enum):
    """What the names above a value say about it."""

    NOTHING = "nothing"
    SECRET_NAME = "secret_name"  # noqa: S105
    """It is a secret if it is a text, or if it is the value in an object that describes one."""
    DESCRIPTION = "description"
    """It stands in an object that has a secret's name, or refers to one: only a value in it would be a secret."""
    CREDENTIALS = "credentials"
    """It is an object of credentials: every text in it is a secret, unless its key only identifies the credentials."""


def secret_problems(document: object, *, name: str) -> list[Problem]:
    """Returns every place of a plaintext secret, up to a limit. ``name`` is the document's name in messages.

    The document must be within the bounds of ``bounds``.
    """
    found = (
        Problem(loc, f"Plaintext secret is not allowed at {_path(name, loc)}", "plaintext_secret")
        for loc in _secrets(document, (), _Under.NOTHING, inner=0)
    )
    return list(islice(found, MAX_FOUND))


def _secrets(value: object, loc: Loc, under: _Under, *, inner: int) -> Iterator[Loc]:
    value = plain(value)
    if isinstance(value, str):
        if value.strip() and (under is _Under.SECRET_NAME or shows_secret(value) or _hides_secret(value, inner)):
            yield loc
    elif isinstance(value, Mapping):
        yield from _secrets_of_object(value, loc, under, inner=inner)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _secrets(part, (*loc, index), under, inner=inner)


def _secrets_of_object(whole: Mapping[object, object], loc: Loc, under: _Under, *, inner: int) -> Iterator[Loc]:
    says_what_it_is = under is not _Under.NOTHING or _names_a_secret_itself(whole)
    for given, part in whole.items():
        key = str(given)
        if shows_secret(key):
            yield (*loc, HIDDEN_KEY)
        else:
            below = _below(key, under, is_value=says_what_it_is and names_value(key))
            yield from _secrets(part, (*loc, key), below, inner=inner)


def _below(key: str, under: _Under, *, is_value: bool) -> _Under:
    """Returns what is known of the value under a key."""
    if names_reference(key):
        return _Under.DESCRIPTION
    if names_credentials(key):
        return _Under.CREDENTIALS
    if is_value or names_secret(key):
        return _Under.SECRET_NAME
    if under is _Under.CREDENTIALS:
        return _Under.DESCRIPTION if is_safe_in_credentials(key) else _Under.SECRET_NAME
    return _Under.DESCRIPTION if under is _Under.SECRET_NAME else under


def _names_a_secret_itself(whole: Mapping[object, object]) -> bool:
    """Whether it is a pair such as ``{"name": "API_KEY", "value": "…"}``, or ``{"type": "secret", "value": "…"}``."""
    names, types = _texts(whole, _NAME_KEYS), _texts(whole, _TYPE_KEYS)
    return any(map(names_secret, names)) or any(map(is_secret_type, types))


def _texts(whole: Mapping[object, object], keys: Sequence[str]) -> Iterator[str]:
    return (text for key in keys if isinstance(text := whole.get(key), str))


def _hides_secret(text: str, inner: int) -> bool:
    """Whether the text is JSON with a secret in it."""
    if inner >= MAX_INNER_TEXTS or not text.lstrip().startswith(("{", "[", '"')):
        return False
    try:
        value = read_json(text)
    except InvalidJson:
        return False
    if bound_problem(value) is not None:
        return False
    return any(True for _ in _secrets(value, (), _Under.NOTHING, inner=inner + 1))


def _path(name: str, loc: Loc) -> str:
    """Returns a path such as ``agent_soul.env.variables[0].value``."""
    steps = (f"[{part}]" if isinstance(part, int) else f".{part[:MAX_SHOWN_KEY_CHARS]}" for part in loc)
    return name + "".join(steps)
