"""The checker of a run's answers, by the run's schema and policy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from runtime.output.elsewhere import judge_elsewhere
from runtime.output.errors import InvalidOutputSchema, OutputProblem, OutputRejected
from runtime.output.judge import CUT_OFF, CheckedOutput, OutputUnreadable, judge
from runtime.output.policy import OnFailure, OutputPolicy, Repair
from runtime.output.schema import INLINE_SECONDS, OutputSchema
from runtime.output.strict import NotJson, check_size, write_json
from runtime.output.time_limit import OutOfTime, time_limit

INLINE_CHARS = 32 * 1024
"""Longer texts are checked in another process."""
INLINE_STEPS = 8_000_000
"""The most steps of a pattern in this process: RE2 takes over 300 in a microsecond and cannot be interrupted."""


class OutputChecker:
    """Checks answers: short ones at once, and those that could hold up other work in another process.

    Raises InvalidOutputSchema when the policy's default does not satisfy the schema. Raises OutputCheckUnavailable when
    the other process was needed for the default and could not be used.
    """

    def __init__(self, schema: OutputSchema, policy: OutputPolicy) -> None:
        self.schema = schema
        self.policy = policy
        if policy.on_failure is OnFailure.DEFAULT:
            self._check_default()

    def check(self, raw: str | Mapping[str, Any], *, truncated: bool = False) -> CheckedOutput:
        """Checks an answer, and blocks this greenlet or thread meanwhile. Not for coroutines.

        ``raw`` is the model's text, or the arguments of its tool call. ``truncated`` says that the model stopped
        because the answer became too long; then nothing is guessed.

        Raises OutputRejected when the answer does not satisfy the schema or cannot be read: the model may try again.
        Raises OutputCheckUnavailable when the process for the check could not be started, died or did not become free.
        """
        text = _as_text(raw)
        try:
            return self._check_here(text, truncated) or judge_elsewhere(self.schema.text, text, self._repair(truncated))
        except OutputRejected as error:
            raise _told_of_its_end(error, truncated) from None

    async def check_async(self, raw: str | Mapping[str, Any], *, truncated: bool = False) -> CheckedOutput:
        """Checks an answer as ``check`` does, for a coroutine. If that is cancelled, the check ends by itself."""
        text = _as_text(raw)
        repair = self._repair(truncated)
        try:
            checked = self._check_here(text, truncated)
            if checked is None:
                loop = asyncio.get_running_loop()
                checked = await loop.run_in_executor(None, judge_elsewhere, self.schema.text, text, repair)
        except OutputRejected as error:
            raise _told_of_its_end(error, truncated) from None
        return checked

    def _check_here(self, text: str, truncated: bool) -> CheckedOutput | None:
        """Returns the checked answer, or None when another process must check it. Raises OutputRejected."""
        findings = self.schema.findings
        try:
            check_size(text)
        except NotJson as error:
            raise OutputUnreadable([OutputProblem.of_whole(error)]) from None
        if not findings.bounded or len(text) > INLINE_CHARS or findings.steps * len(text) > INLINE_STEPS:
            return None
        repair = self._repair(truncated)
        try:
            with time_limit(INLINE_SECONDS):
                # Guessing takes an unbounded time, so it is never done here.
                return judge(self.schema.validation, text, min(repair, Repair.SAFE, key=list(Repair).index))
        except OutOfTime:
            return None
        except OutputUnreadable:
            if repair is Repair.LENIENT:
                return None
            raise

    def _repair(self, truncated: bool) -> Repair:
        repair = self.policy.repair
        return Repair.SAFE if truncated and repair is Repair.LENIENT else repair

    def _check_default(self) -> None:
        default = self.policy.default
        try:
            self.check(write_json(default))
        except NotJson as error:
            raise InvalidOutputSchema(f"the default: {error}") from None
        except OutputRejected as error:
            places = "; ".join(problem.path for problem in error.problems)
            raise InvalidOutputSchema(f"the default does not satisfy the schema, at {places}") from None


def _as_text(raw: str | Mapping[str, Any]) -> str:
    if isinstance(raw, str):
        return raw
    try:
        return write_json(raw)
    except NotJson as error:
        raise OutputUnreadable([OutputProblem.of_whole(error)]) from None


def _told_of_its_end(error: OutputRejected, truncated: bool) -> OutputRejected:
    """Puts the fact that an answer was cut off before all other problems."""
    return OutputRejected([CUT_OFF, *error.problems]) if truncated else error
