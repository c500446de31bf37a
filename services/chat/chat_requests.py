"""The body with which clients of Dify's service API send a message."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, JsonValue, StringConstraints

from errors import ParameterRefused
from models import SessionTurn
from services.chat.requests import OfUser, OptionalId
from services.sessions.requests import without_nul
from services.souls.document import MAX_PROMPT_CHARS

MAX_FILES = 20
QUERY_MISSING = "query is required"
INPUTS_MISSING = "inputs is required"
FILES = "files"


def _streaming_if_none(value: object) -> object:
    return "streaming" if value is None else value


class RemoteFile(BaseModel):
    """A file whose address is given to the model. Files cannot be uploaded here."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    type: Literal["image", "document", "audio", "video", "custom"] = "custom"
    transfer_method: Literal["remote_url"]
    url: HttpUrl


class ChatMessageRequest(OfUser):
    """A message to an app. Unknown keys are ignored."""

    query: Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARS), BeforeValidator(without_nul)] = ""
    inputs: dict[str, JsonValue] | None = None
    response_mode: Annotated[Literal["streaming", "blocking"], BeforeValidator(_streaming_if_none)] = "streaming"
    conversation_id: OptionalId = None
    files: Annotated[list[RemoteFile], Field(max_length=MAX_FILES)] | None = None
    auto_generate_name: bool = True

    def require_query(self) -> str:
        """Returns the query. Raises ParameterRefused if it is blank."""
        if not self.query.strip():
            raise ParameterRefused(QUERY_MISSING, params="query")
        return self.query

    def require_inputs(self) -> dict[str, JsonValue]:
        """Returns the inputs. Raises ParameterRefused when they were left out."""
        if self.inputs is None:
            raise ParameterRefused(INPUTS_MISSING, params="inputs")
        return self.inputs

    @property
    def file_locators(self) -> list[JsonValue]:
        """The addresses of the files, as the model gets them."""
        return [file.model_dump(mode="json", include={"transfer_method", "url"}) for file in self.files or ()]


def query_of(turn: SessionTurn) -> str:
    """Returns what the user has asked, without the files that may have come with it."""
    files = turn.details.get(FILES)
    return turn.query.removesuffix(prompt_of("", files)) if files else turn.query


def prompt_of(query: str, locators: Sequence[JsonValue]) -> str:
    """Returns the prompt for the model: the query, and where the files are."""
    return query if not locators else f"{query}\n\n{json.dumps(list(locators), ensure_ascii=False)}"
