"""The answer of a turn as text, which is what is stored and what a chat client is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

PARAGRAPH = "\n\n"

_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """The text without what PostgreSQL refuses: NUL characters and halves of surrogate pairs.

    Of pieces of a text it leaves what it would leave of the whole.
    """
    return _NOT_STORABLE.sub("", text)


def answer_text(output: object) -> str:
    """The output of a successful run as text; ``output`` is a JSON value."""
    match output:
        case None:
            return ""
        case str(text) | {"text": str(text)}:
            return storable(text)
    return storable(json_text(output))


def question_text(call: Mapping[str, Any]) -> str:
    """What a person is asked by the deferred tool call that ended a run, as its terminal event has it."""
    arguments = call["args"]
    return storable(PARAGRAPH.join(filter(None, (arguments["question"], arguments.get("markdown")))))


def json_text(value: object) -> str:
    """Compact JSON. Characters beyond ASCII stay as they are."""
    return to_json(value).decode()
