"""Requests for agents. Unknown keys are refused."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from models.agent_tags import TAG_LENGTH
from models.enums import IconType
from services.agents.texts import AgentName, Lines, ShortLine
from services.souls import AgentSoulConfig
from services.souls.document import MAX_PROMPT_CHARS

TAG_PATTERN = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{TAG_LENGTH - 1}}}")

MAX_KEYWORD_CHARS = 255


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class CreateAgentRequest(_Wanted):
    """An agent of the roster, with its first version."""

    name: AgentName
    description: Lines = ""
    icon_type: IconType | None = None
    icon: ShortLine | None = None
    icon_background: ShortLine | None = None
    agent_soul: AgentSoulConfig | None = None
    """None stands for a Soul with nothing but defaults."""
    version_note: Lines | None = None


class ChangeAgentRequest(_Wanted):
    """What to change in an agent. What is not sent stays as it is."""

    name: AgentName | None = None
    description: Lines | None = None
    icon_type: IconType | None = None
    icon: ShortLine | None = None
    icon_background: ShortLine | None = None

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if nulls := [key for key in ("name", "description") if key in self.model_fields_set and not self._has(key)]:
            raise ValueError(f"{nulls[0]} must not be null")
        return self

    def _has(self, key: str) -> bool:
        return getattr(self, key) is not None


class CreateVersionRequest(_Wanted):
    """A version of an agent. Both strategies store a new one; they differ in the operation that the history shows."""

    agent_soul: AgentSoulConfig
    version_note: Lines | None = None
    summary: Lines | None = None
    save_strategy: Literal["save_as_new_version", "save_to_current_version"] = "save_as_new_version"


class PutTagRequest(_Wanted):
    """The version that a tag should point to."""

    version_id: str


class RunAgentRequest(_Wanted):
    """A run of an agent, of its active version unless a version or a tag is named."""

    query: Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARS, pattern=r"\S")]
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    version_id: str | None = None
    tag: str | None = None

    @model_validator(mode="after")
    def _names_one_version(self) -> Self:
        if self.version_id is not None and self.tag is not None:
            raise ValueError("version_id and tag exclude each other")
        return self
