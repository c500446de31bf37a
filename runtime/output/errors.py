"""The errors of checking answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class InvalidOutputSchema(ValueError):
    """Raised when the schema cannot be used, or the default does not satisfy it.

    The text is for the caller and quotes no value.
    """


@dataclass(frozen=True, slots=True)
class OutputProblem:
    """One problem of an answer. Its text, the place and the message, is written for the model.

    ``path`` is the JSON path of the value, ``$`` for the whole. ``validator`` is the keyword of the schema that is not
    satisfied; None for problems that do not come from the schema.
    """

    path: str
    message: str
    validator: str | None = None

    @classmethod
    def of_whole(cls, message: object) -> OutputProblem:
        """Returns a problem of the answer as a whole, whatever its schema."""
        return cls("$", str(message))

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class OutputRejected(Exception):
    """Raised when the answer does not satisfy the schema; the model may try again. ``problems`` are few and short."""

    def __init__(self, problems: Sequence[OutputProblem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(map(str, self.problems)))
