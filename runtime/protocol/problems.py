"""What is wrong with a value, in one line that repeats nothing of it."""

from __future__ import annotations

from pydantic import ValidationError

MAX_PROBLEMS_TOLD = 5
"""Of one value; one wrong message of a history fails in dozens of ways."""

MAX_PROBLEMS_COUNTED = 1000
"""Above this only their number is told: pydantic makes all of them or none, at a kilobyte each."""


def problems_text(error: ValidationError) -> str:
    """The first problems of a value, each with its place."""
    if error.error_count() > MAX_PROBLEMS_COUNTED:
        return f"{error.error_count()} problems"
    problems = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_PROBLEMS_TOLD]
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'value'}: {problem['msg']}" for problem in problems
    )
