"""The answer of a turn as text: the form in which it is stored and sent to chat clients."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

PARAGRAPH = "\n\n"

_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Returns the text without what PostgreSQL refuses: NUL characters and lone surrogates.

    Cleaning the pieces of a text leaves the same as cleaning the whole.
    """
    return _NOT_STORABLE.sub("", text)


def answer_text(output: object) -> str:
    """Returns the output of a successful run as text; ``output`` is a JSON value."""
    match output:
        case None:
            return ""
        case str(text) | {"text": str(text)}:
            return storable(text)
    return storable(json_text(output))


def question_text(call: Mapping[str, Any]) -> str:
    """Returns the question to a person in the deferred tool call that ended a run, as the terminal event has it."""
    arguments = call["args"]
    return storable(PARAGRAPH.join(filter(None, (arguments["question"], arguments.get("markdown")))))


def json_text(value: object) -> str:
    """Returns compact JSON. Characters beyond ASCII are not escaped."""
    return to_json(value).decode()
