"""Plaintext secrets in a document: found by the names they stand under, and by what known keys look like.

Only references to secrets may be kept. It cannot find every secret; what it does not know as one looks like any text.
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
"""Stands in a path for a key that is itself a secret."""
MAX_INNER_TEXTS = 3
"""How often JSON may stand in a text of JSON; deeper nobody would look for it either."""

_NAME_KEYS = ("name", "key", "variable", "header", "field", "env", "env_name", "env_key", "label")
_TYPE_KEYS = ("type", "value_type", "format")


class _Under(Enum):
    """What the names above a value say of it."""

    NOTHING = "nothing"
    SECRET_NAME = "secret_name"  # noqa: S105
    """It is a secret if it is a text, or if it is the value of what is described there."""
    DESCRIPTION = "description"
    """It stands in an object that has a secret's name, or points to one: only a value in it would be a secret."""
    CREDENTIALS = "credentials"
    """It is an object of credentials: every text in it is a secret that is not there to say which they are."""


def secret_problems(document: object, *, name: str) -> list[Problem]:
    """Every place where a plaintext secret stands, up to a bound. ``name`` is what messages call the document.

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
    """What is known of the value under a key."""
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
    """Such as ``agent_soul.env.variables[0].value``."""
    steps = (f"[{part}]" if isinstance(part, int) else f".{part[:MAX_SHOWN_KEY_CHARS]}" for part in loc)
    return name + "".join(steps)
