"""Values cast to the types that a plugin expects: models and forms give much of it as text."""

from __future__ import annotations

import math
import mimetypes
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic_core import from_json, to_json

TRUE_WORDS = frozenset({"true", "yes", "y", "on", "1"})
FALSE_WORDS = frozenset({"false", "no", "n", "off", "0", ""})
FILE_MARK = {"dify_model_identity": "__dify__file__"}
"""By this a plugin tells a file from any other object."""


class UnfitValueError(ValueError):
    """The value cannot be of the type; the text says what it must be, and not what it is."""


def cast_value(type_name: str, value: Any) -> Any:
    """The value as a parameter of this type takes it; unchanged for a type that is not known.

    Raises UnfitValueError.
    """
    cast = _CASTS.get(type_name)
    return value if cast is None else cast(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value).decode()


def _boolean(value: Any) -> bool:
    if isinstance(value, bool | int | float):
        return bool(value)
    word = value.strip().lower() if isinstance(value, str) else None
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise UnfitValueError("must be true or false")


def _number(value: Any) -> int | float:
    number = _read_number(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise UnfitValueError("must be a number")
    return number


def _read_number(text: str) -> int | float | None:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return None


def _files(value: Any) -> list[Any]:
    return [_one_file(item) for item in (value if isinstance(value, list) else [value])]


def _file(value: Any) -> Any:
    if isinstance(value, list):
        if len(value) != 1:
            raise UnfitValueError("must be one file")
        value = value[0]
    return _one_file(value)


def _one_file(value: Any) -> Any:
    if isinstance(value, dict):
        return {**FILE_MARK, "type": "custom", **value} if isinstance(value.get("url"), str) else value
    if isinstance(value, str) and value.lower().startswith(("http://", "https://")):
        return _file_at(value)
    raise UnfitValueError("must be the http or https URL of a file")


def _file_at(url: str) -> dict[str, Any]:
    try:
        name = unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        raise UnfitValueError("must be the http or https URL of a file") from None
    described: dict[str, Any] = {**FILE_MARK, "type": "custom", "url": url, "size": -1}
    if name:
        described["filename"] = name
    if "." in name:
        described["extension"] = "." + name.rpartition(".")[2]
    media_type = mimetypes.guess_type(name)[0]
    if media_type is not None:
        described["mime_type"] = media_type
    return described


def _object(value: Any) -> dict[str, Any]:
    read = _read_json(value)
    if not isinstance(read, dict):
        raise UnfitValueError("must be an object")
    return read


def _array(value: Any) -> list[Any]:
    """One value that is no list is a list of one."""
    read = _read_json(value)
    return read if isinstance(read, list) else [value]


def _read_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return from_json(value, allow_inf_nan=False)
    except ValueError:
        return None


_CASTS: Mapping[str, Callable[[Any], Any]] = {
    "string": _text,
    "select": _text,
    "dynamic-select": _text,
    "checkbox": _text,
    "secret-input": _text,
    "boolean": _boolean,
    "number": _number,
    "file": _file,
    "files": _files,
    "system-files": _files,
    "model-selector": _object,
    "app-selector": _object,
    "array": _array,
    "object": _object,
}
