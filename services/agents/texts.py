"""The texts of agents, limited to characters that every database stores alike and no terminal interprets."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from models.agents import NAME_LENGTH
from services.souls.document import MAX_DESCRIPTION_CHARS

_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_LINES = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


AgentName = Annotated[
    str, StringConstraints(min_length=1, max_length=NAME_LENGTH, pattern=_PLAIN), AfterValidator(_not_blank)
]
"""Any characters but control characters, and not only spaces. It is stored and compared unchanged."""

ShortLine = Annotated[str, StringConstraints(max_length=NAME_LENGTH, pattern=_PLAIN)]
Lines = Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION_CHARS, pattern=_LINES)]
