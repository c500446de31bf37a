"""What the checking of answers raises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class InvalidOutputSchema(ValueError):
    """The schema cannot be used, or the default does not satisfy it. The text is for the caller, without any value."""


@dataclass(frozen=True, slots=True)
class OutputProblem:
    """One thing that is wrong with an answer. Its text is the place and the message, in words for the model.

    Attributes:
        path: the JSON path of the value, ``$`` for the whole.
        validator: the keyword of the schema that is not satisfied; None when it is not for the schema.
    """

    path: str
    message: str
    validator: str | None = None

    @classmethod
    def of_whole(cls, message: object) -> OutputProblem:
        """Something is wrong with the answer as such, whatever its schema."""
        return cls("$", str(message))

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class OutputRejected(Exception):
    """The answer is not as the schema says; the model may try again.

    Attributes:
        problems: what is wrong, few and short.
    """

    def __init__(self, problems: Sequence[OutputProblem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(map(str, self.problems)))
