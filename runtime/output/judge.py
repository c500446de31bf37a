"""Judges one answer: reads it, repairs it as far as allowed, and validates it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from runtime.output.errors import OutputProblem, OutputRejected
from runtime.output.policy import Repair
from runtime.output.repair import AppliedRepair, read_output
from runtime.output.strict import NotJson, check_size
from runtime.output.unwrap import unwrap
from runtime.output.validation import Validation

CUT_OFF = OutputProblem.of_whole("the output was cut off before its end, for it became too long")


class OutputUnreadable(OutputRejected):
    """Raised when no value can be read from the answer."""


@dataclass(frozen=True)
class CheckedOutput:
    """An answer that satisfies its schema.

    ``text`` is its JSON. ``repairs`` is empty when the answer was valid as it came.
    """

    text: str
    repairs: list[AppliedRepair]

    @cached_property
    def value(self) -> Any:
        """The value of the JSON. It is parsed on first use, which takes up to 50 ms for a megabyte."""
        return json.loads(self.text)


def judge(validation: Validation, text: str, repair: Repair) -> CheckedOutput:
    """Checks an answer in this process.

    Raises OutputUnreadable when no value can be read from it, OutputRejected when the value does not satisfy the
    schema, and OutOfTime when the check takes longer than it may in this process.
    """
    try:
        check_size(text)
        reading = read_output(text, repair, only_objects=validation.asks_for_object)
    except NotJson as error:
        raise OutputUnreadable([OutputProblem.of_whole(error)]) from None
    problems = validation.problems(reading.value)
    if problems:
        unwrapped = unwrap(validation, reading) if repair is not Repair.NONE else None
        if unwrapped is None:
            raise OutputRejected(problems)
        reading = unwrapped
    return CheckedOutput(reading.text, reading.repairs)
