"""What a run does with an answer that does not satisfy its schema."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator


class Repair(StrEnum):
    """How far a text may deviate from JSON."""

    NONE = "none"
    """It must be JSON."""
    SAFE = "safe"
    """Text around the JSON is dropped, and so are trailing commas: no value is changed."""
    LENIENT = "lenient"
    """Missing parts are guessed as well."""


class OnFailure(StrEnum):
    """What happens to a run whose model gave no valid answer."""

    ERROR = "error"
    DEFAULT = "default"


class OutputPolicy(BaseModel):
    """How an answer is repaired, how often the model may try again, and what is used after that."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True, allow_inf_nan=False)

    max_model_retries: int = Field(default=1, ge=0, le=5, strict=True)
    repair: Repair = Repair.NONE
    on_failure: OnFailure = OnFailure.ERROR
    default: JsonValue = None

    @model_validator(mode="after")
    def _default_is_given_when_it_counts(self) -> OutputPolicy:
        given = "default" in self.model_fields_set
        if self.on_failure is OnFailure.DEFAULT and not given:
            raise ValueError("a default is needed when on_failure is default")
        if given and self.on_failure is not OnFailure.DEFAULT:
            raise ValueError("a default has a meaning only when on_failure is default")
        return self
