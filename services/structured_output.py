"""Checks structured output without a run: does it satisfy the schema, and if not, can it be repaired?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, model_validator
from pydantic_core import PydanticCustomError

from errors import OutputSchemaRefused
from runtime.output import (
    AppliedRepair,
    InvalidOutputSchema,
    OnFailure,
    OutputChecker,
    OutputPolicy,
    OutputProblem,
    OutputRejected,
    OutputSchema,
    Repair,
)
from runtime.output.strict import write_json


def _is_schema(value: Any) -> Any:
    if not isinstance(value, dict | bool):
        raise PydanticCustomError("schema_type", "Input should be a JSON Schema: an object, true or false")
    return value


class ValidateOutputRequest(BaseModel):
    """A text or a value, and the schema that it should satisfy."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    text: StrictStr | None = None
    value: Any = None
    json_schema: Annotated[Any, AfterValidator(_is_schema)] = Field(alias="schema")
    repair: Repair = Repair.NONE
    default: Any = None

    @model_validator(mode="after")
    def _has_one_thing_to_check(self) -> Self:
        if (self.text is not None) == ("value" in self.model_fields_set):
            raise ValueError("give either text or value")
        return self

    def policy(self) -> OutputPolicy:
        if "default" in self.model_fields_set:
            return OutputPolicy(repair=self.repair, on_failure=OnFailure.DEFAULT, default=self.default)
        return OutputPolicy(repair=self.repair)


class Source(StrEnum):
    """Where a value comes from."""

    DIRECT = "direct"
    REPAIRED = "repaired"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a check. ``source`` and ``value``, which is JSON, are None when there is no value at all."""

    source: Source | None
    value: str | None = None
    repairs: Sequence[AppliedRepair] = ()
    errors: Sequence[OutputProblem] = ()

    @property
    def is_valid(self) -> bool:
        """Whether the output itself is valid; a default in its place does not make it valid."""
        return not self.errors


def validate_output(request: ValidateOutputRequest) -> Verdict:
    """Checks one output. Raises OutputSchemaRefused and OutputCheckUnavailable."""
    policy = request.policy()
    try:
        checker = OutputChecker(OutputSchema.parse(request.json_schema), policy)
    except InvalidOutputSchema as error:
        raise OutputSchemaRefused(str(error)) from None
    try:
        checked = checker.check(request.text if request.text is not None else write_json(request.value))
    except OutputRejected as error:
        if policy.on_failure is OnFailure.DEFAULT:
            return Verdict(Source.DEFAULT, write_json(policy.default), errors=error.problems)
        return Verdict(None, errors=error.problems)
    return Verdict(Source.REPAIRED if checked.repairs else Source.DIRECT, checked.text, checked.repairs)
