"""Problems of a document, each with its place, in the forms of pydantic and of REST responses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from errors import MalformedRequest
from runtime.protocol.redaction import REDACTED

MAX_PROBLEMS_TOLD = 100

Loc = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at one place. The message repeats no value."""

    loc: Loc
    message: str
    kind: str = "value_error"


def refuse(problems: Sequence[Problem], *, of: str) -> None:
    """Raises all problems as one ValidationError, to which a surrounding model adds its own place in front."""
    if problems:
        raise ValidationError.from_exception_data(of, [_detail(problem) for problem in problems], hide_input=True)


def malformed(error: ValidationError, *place: str | int) -> MalformedRequest:
    """Converts a ValidationError to the 400 for a caller, without any value of the document."""
    count = error.error_count()
    if count > MAX_PROBLEMS_TOLD:  # not even the first few are listed: pydantic creates all or none, at a kilobyte each
        return malformed_at(
            Problem((), f"{count} problems, more than are told one by one", "too_many_problems"), *place
        )
    items = error.errors(include_url=False, include_context=False, include_input=False)
    return MalformedRequest([_item(item["type"], (*place, *item["loc"]), item["msg"]) for item in items])


def malformed_at(problem: Problem, *place: str | int) -> MalformedRequest:
    """Returns one problem as the 400 for a caller."""
    return MalformedRequest([problem_item(problem, *place)])


def refuse_request(problems: Iterable[Problem], *place: str | int) -> NoReturn:
    """Raises all problems as the 400 for a caller."""
    raise MalformedRequest([problem_item(problem, *place) for problem in problems])


def problem_item(problem: Problem, *place: str | int) -> dict[str, object]:
    """Returns a problem in the form of REST responses, placed below ``place``."""
    return _item(problem.kind, (*place, *problem.loc), problem.message)


def _item(kind: str, loc: Loc, message: str) -> dict[str, object]:
    return {"type": kind, "loc": list(loc), "msg": message, "input": REDACTED}


def _detail(problem: Problem) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError(problem.kind, problem.message), loc=problem.loc, input=REDACTED)
