"""What the documents of the roster have in common: no unknown keys, bounded size, and no plaintext secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    ValidationInfo,
    model_validator,
)

from services.souls.bounds import bound_problem
from services.souls.problems import refuse
from services.souls.secret_scan import secret_problems

MAX_ITEMS = 200
"""The most items of one list."""
MAX_PROMPT_CHARS = 200_000
MAX_NAME_CHARS = 255
MAX_DESCRIPTION_CHARS = 10_000

FreeObject = dict[str, JsonValue]
"""An object that is stored unchanged; only the bounds of the whole document and the search for secrets apply to it."""
FreeObjects = Annotated[list[FreeObject], Field(max_length=MAX_ITEMS)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
ShortText = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION_CHARS)]


_STORED: dict[str, object] = {"stored": True}


class Part(BaseModel):
    """A part of a document. Unknown keys are refused, so that a misspelt one is an error and not lost."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


class Document(Part):
    """A whole document. Its bounds and secrets are checked first, before anything is left out or parsed."""

    document_name: ClassVar[str]
    """The document's name in messages."""

    @model_validator(mode="wrap")
    @classmethod
    def _check_whole(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if isinstance(value, Mapping) and info.context is not _STORED:
            if (problem := bound_problem(value)) is not None:
                refuse([problem], of=cls.__name__)
            refuse(secret_problems(value, name=cls.document_name), of=cls.__name__)
        return handler(value)

    @classmethod
    def from_stored(cls, value: Mapping[str, Any]) -> Self:
        """Returns a document that this server has stored.

        It was checked when it came in: what has since become known as a secret or too large keeps no agent from
        running. Raises pydantic's ValidationError when it was not stored by this server.
        """
        return cls.model_validate(value, context=_STORED)

    def as_json(self) -> dict[str, Any]:
        """Returns the whole document with its defaults, as it is stored, shown and digested."""
        return self.model_dump(mode="json")
