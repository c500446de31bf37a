"""Errors without their texts, for the log: the text of a library's error may quote anything."""

from __future__ import annotations

from errors import GreenrunError


class Unforeseen(Exception):
    """Stands for an error of a library and shows only the name of its class."""


def wordless(error: BaseException) -> BaseException:
    """Returns an error to log instead of ``error``.

    It shows the classes and stacks of the error, of its causes and of the members of a group. This project's own errors
    keep their message, which quotes nothing.
    """
    return _wordless(error, set())


def _wordless(error: BaseException, seen: set[int]) -> BaseException:
    if isinstance(error, Unforeseen):
        return error
    seen.add(id(error))
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    told: BaseException = Unforeseen(f"{name}: {error.message}" if isinstance(error, GreenrunError) else name)
    if isinstance(error, BaseExceptionGroup):
        told = BaseExceptionGroup(name, [_wordless(inner, seen) for inner in error.exceptions])
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        told.__cause__ = _wordless(before, seen)
    return told.with_traceback(error.__traceback__)
