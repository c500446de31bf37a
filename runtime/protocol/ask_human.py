"""What a model may ask a person, and the shape of the person's answer.

The limits of a composition are not checked here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

FieldType = Literal["paragraph", "select", "file", "file-list"]
FILE_FIELD_TYPES: frozenset[FieldType] = frozenset({"file", "file-list"})

IDENTIFIER_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"

MAX_TITLE_CHARS = 200
MAX_OPTIONS = 100
MAX_OPTION_CHARS = 200
MAX_PLACEHOLDER_CHARS = 500
MAX_DEFAULT_CHARS = 8000
MAX_FILES = 100


class AskHumanModel(BaseModel):
    """A model that forbids unknown keys, so that the model hears of a key that would be ignored."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it must not be blank")
    return text


def _none_if_blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN, max_length=64)]
Words = Annotated[str, AfterValidator(_not_blank)]
"""Text that is not blank."""
Title = Annotated[str, Field(max_length=MAX_TITLE_CHARS)]
OptionText = Annotated[Words, Field(max_length=MAX_OPTION_CHARS)]


class SelectOption(AskHumanModel):
    """One of the values to choose from, and how it is shown."""

    value: OptionText
    label: OptionText


class BaseField(AskHumanModel):
    """What all fields of the form have in common."""

    name: Identifier
    label: Words
    required: bool = False

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_is_empty(cls, value: object) -> object:
        """Drops empty keys.

        The model is shown one schema for all fields, so it may send a key of another field type and leave it empty.
        """
        if not isinstance(value, dict):
            return value
        return {key: part for key, part in value.items() if part is not None and part != []}


class ParagraphField(BaseField):
    """Free text."""

    type: Literal["paragraph"]
    placeholder: str | None = Field(default=None, max_length=MAX_PLACEHOLDER_CHARS)
    default: str | None = Field(default=None, max_length=MAX_DEFAULT_CHARS)


class SelectField(BaseField):
    """One of several options."""

    type: Literal["select"]
    options: list[SelectOption] = Field(min_length=1, max_length=MAX_OPTIONS)
    default: str | None = None

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        values = [option.value for option in self.options]
        _refuse_repeated(values, "the option value")
        if self.default is not None and self.default not in values:
            raise ValueError("the default must be the value of one of the options")
        return self


class FileField(BaseField):
    """One file."""

    type: Literal["file"]


class FileListField(BaseField):
    """Several files."""

    type: Literal["file-list"]
    max_files: int | None = Field(default=None, ge=1, le=MAX_FILES)


FormField = Annotated[ParagraphField | SelectField | FileField | FileListField, Field(discriminator="type")]


class FormAction(AskHumanModel):
    """A button that submits the form."""

    id: Identifier
    label: Words
    style: Literal["default", "primary", "destructive"] = "default"


SUBMIT = FormAction(id="submit", label="Submit", style="primary")
"""The action of a form that defines none."""


def _submit_by_default(value: object) -> object:
    return value or [SUBMIT]


class AskHumanArguments(AskHumanModel):
    """The arguments of the tool: a question, and the form to answer it with."""

    title: Annotated[Title | None, BeforeValidator(_none_if_blank)] = None
    question: Words
    markdown: Annotated[str | None, BeforeValidator(_none_if_blank)] = None
    fields: Annotated[list[FormField], BeforeValidator(lambda value: value or [])] = Field(default_factory=list)
    actions: Annotated[list[FormAction], BeforeValidator(_submit_by_default)] = Field(
        default_factory=list, validate_default=True
    )
    urgency: Literal["normal", "high"] = "normal"

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        _refuse_repeated((field.name for field in self.fields), "the field name")
        _refuse_repeated((action.id for action in self.actions), "the action id")
        return self

    def as_wire(self) -> dict[str, Any]:
        """Returns the arguments for the run's caller: with defaults filled in and without nulls."""
        return self.model_dump(mode="json", exclude_none=True)


class ChosenAction(AskHumanModel):
    """The action that the form was submitted with."""

    id: Words
    label: Words


class AskHumanResult(AskHumanModel):
    """What came of the question: the value of a deferred tool result."""

    status: Literal["submitted", "timeout", "cancelled", "unavailable"]
    action: ChosenAction | None = None
    values: dict[str, JsonValue] = Field(default_factory=dict)
    message: str | None = None
    rendered_content: str | None = None


NOT_ANSWERED = AskHumanResult(status="unavailable", message="The conversation went on without an answer.")
"""The result of a call whose session continues with an ordinary run."""


def _refuse_repeated(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} '{name}' is used twice")
        seen.add(name)
