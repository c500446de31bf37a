"""Describes what is wrong with a value in one line that quotes nothing of the value."""

from __future__ import annotations

from pydantic import ValidationError

MAX_PROBLEMS_TOLD = 5
"""The most problems that are listed for one value: a single wrong message of a history fails in dozens of ways."""

MAX_PROBLEMS_COUNTED = 1000
"""Beyond this, only the number of problems is given: pydantic builds all of them or none, and each takes a kilobyte."""


def problems_text(error: ValidationError) -> str:
    """Returns the first problems of a value, each with its location."""
    if error.error_count() > MAX_PROBLEMS_COUNTED:
        return f"{error.error_count()} problems"
    problems = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_PROBLEMS_TOLD]
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'value'}: {problem['msg']}" for problem in problems
    )
