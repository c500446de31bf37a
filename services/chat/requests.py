"""Requests of the clients of Dify's service API. Unknown keys are ignored, as these clients send some."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints

from errors import ParameterRefused
from models.end_users import USER_LENGTH
from models.enums import FeedbackRating
from models.sessions import SESSION_NAME_LENGTH
from services.chat.end_users import DEFAULT_USER

MAX_FEEDBACK_CHARS = 10_000
NAME_MISSING = "name is required when auto_generate is false"
USER_MISSING = "Arg user must be provided."


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    return text


def _canonical(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("must be a UUID") from None


def _digits(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _none_if_blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


PlainText = Annotated[str, AfterValidator(_without_nul)]
UserName = Annotated[PlainText, StringConstraints(max_length=USER_LENGTH), BeforeValidator(_digits)]
OptionalId = Annotated[
    Annotated[str, AfterValidator(_canonical)] | None,
    BeforeValidator(_none_if_blank),
]
"""A UUID in any notation; a blank text counts as None."""


class OfUser(BaseModel):
    """A request of an end user. The user's name may also be a whole number."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    user: UserName | None = None

    @property
    def user_or_default(self) -> str:
        return self.user or DEFAULT_USER

    def require_user(self) -> str:
        """Returns the user's name. Raises ParameterRefused without one."""
        if not self.user:
            raise ParameterRefused(USER_MISSING, params="user")
        return self.user


class ConversationsQuery(OfUser):
    """A page of conversations: those after ``last_id``."""

    last_id: OptionalId = None
    limit: int = Field(default=20, ge=1, le=100)
    sort_by: Literal["created_at", "-created_at", "updated_at", "-updated_at"] = "-updated_at"


class MessagesQuery(OfUser):
    """A page of messages: the newest ones before ``first_id``."""

    conversation_id: OptionalId
    """None if it was sent blank."""
    first_id: OptionalId = None
    limit: int = Field(default=20, ge=1, le=100)


class RenameRequest(OfUser):
    """A name for a conversation, or the request to generate one."""

    name: Annotated[PlainText, StringConstraints(max_length=SESSION_NAME_LENGTH)] | None = None
    auto_generate: bool = False

    def require_name(self) -> str:
        """Returns the name that was given. Raises ParameterRefused without one."""
        if not self.name or not self.name.strip():
            raise ParameterRefused(NAME_MISSING, params="name")
        return self.name


class FeedbackRequest(OfUser):
    """A user's rating of a message; none removes the one there was."""

    rating: FeedbackRating | None = None
    content: Annotated[PlainText, StringConstraints(max_length=MAX_FEEDBACK_CHARS)] | None = None


class SubmitFormRequest(OfUser):
    """A person's answer to an agent's question: one of the form's actions, and values by field name."""

    action: str
    values: dict[str, JsonValue] = Field(default_factory=dict)
