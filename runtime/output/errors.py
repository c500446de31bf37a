"""What the checking of answers raises."""

from __future__ import annotations

from collections.abc import Sequence


class InvalidOutputSchema(ValueError):
    """The schema cannot be used, or the default does not satisfy it. The text is for the caller, without any value."""


class OutputRejected(Exception):
    """The answer is not as the schema says; the model may try again.

    Attributes:
        problems: what is wrong, in words for the model, few and short.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))
