"""What a run does with an answer that is not as its schema says."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator


class Repair(StrEnum):
    """How far a text may be from JSON."""

    NONE = "none"
    """It must be JSON."""
    SAFE = "safe"
    """What stands around the JSON is left out, and so are trailing commas: no value is changed."""
    LENIENT = "lenient"
    """What is missing is guessed as well."""


class OnFailure(StrEnum):
    """What becomes of a run whose model gave no valid answer."""

    ERROR = "error"
    DEFAULT = "default"


class OutputPolicy(BaseModel):
    """How an answer is repaired, how often the model may try again, and what then counts."""

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
