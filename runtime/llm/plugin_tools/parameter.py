"""Dify's declaration of a tool's parameter, as far as a call needs it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

SECRET_TYPE = "secret-input"  # noqa: S105
SELECT_TYPE = "select"
ANY_TYPE = "any"


def _text_of_option(value: object) -> object:
    return str(value) if isinstance(value, int | float) else value


def _absent_is_false(value: object) -> object:
    return False if value is None else value


def _absent_is_empty(value: object) -> object:
    return [] if value is None else value


class _Declaration(BaseModel):
    """Open: Dify's declarations carry labels, scopes and more, which matter to its pages alone."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, allow_inf_nan=False)


class ToolParameterOption(_Declaration):
    """One of the values that a parameter may have."""

    value: Annotated[str, BeforeValidator(_text_of_option)]


class ToolParameter(_Declaration):
    """A parameter of a tool. A type that is not known here leaves the value as it is."""

    name: str = Field(min_length=1)
    type: str
    form: Literal["llm", "form", "schema"]
    """Who gives the value: the model, or whoever has set the tool up."""
    required: Annotated[bool, BeforeValidator(_absent_is_false)] = False
    default: Any = None
    options: Annotated[list[ToolParameterOption], BeforeValidator(_absent_is_empty)] = Field(default_factory=list)
