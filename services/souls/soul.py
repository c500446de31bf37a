"""The Soul: all that makes an agent. One version of it is a config snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from services.souls.document import (
    MAX_ITEMS,
    MAX_PROMPT_CHARS,
    Document,
    FreeObject,
    FreeObjects,
    Name,
    Part,
    ShortText,
)
from services.souls.model_settings import check_model_settings
from services.souls.problems import Problem, malformed, refuse
from services.souls.tools import ToolsConfig
from services.souls.variables import fits_type


class PromptConfig(Part):
    """The agent's system prompt, in which ``{{name}}`` stands for the app variable of that name."""

    system_prompt: Annotated[str, Field(max_length=MAX_PROMPT_CHARS)] = ""


class SkillsFilesConfig(Part):
    """Stored, and not used by runs."""

    files: FreeObjects = Field(default_factory=list)
    skills: FreeObjects = Field(default_factory=list)


class KnowledgeConfig(Part):
    """Stored, and not used by runs."""

    datasets: FreeObjects = Field(default_factory=list)
    query_mode: Literal["user_query", "generated_query"] | None = None
    query_config: FreeObject = Field(default_factory=dict)


class HumanConfig(Part):
    """The people that the agent may ask: with at least one contact it has a tool for that.

    ``tools`` are only stored.
    """

    contacts: FreeObjects = Field(default_factory=list)
    tools: FreeObjects = Field(default_factory=list)


class EnvConfig(Part):
    """Stored, and not used by runs. ``secret_refs`` name secrets and never contain one."""

    variables: FreeObjects = Field(default_factory=list)
    secret_refs: FreeObjects = Field(default_factory=list)


class SandboxConfig(Part):
    """Stored, and not used by runs."""

    provider: ShortText | None = None
    config: FreeObject = Field(default_factory=dict)


class MemoryConfig(Part):
    """Stored, and not used by runs."""

    scope: ShortText | None = None
    budget: ShortText | None = None
    artifacts: FreeObjects = Field(default_factory=list)


class ModelCredentialRef(Part):
    """The credential that the model is called with. ``id`` is the name of a credential of the tenant."""

    type: Annotated[str, Field(min_length=1, max_length=64)]
    id: ShortText | None = None
    provider: ShortText | None = None


class ModelConfig(Part):
    """The model, by plugin, provider and name. Without a ``credential_ref`` it is called with no credentials."""

    plugin_id: Name
    model_provider: Name
    model: Name
    credential_ref: ModelCredentialRef | None = None
    model_settings: FreeObject = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        refuse(check_model_settings(self.plugin_id, self.model_settings), of="ModelConfig")
        return self


class AppVariable(Part):
    """An input that the caller of a run gives, or leaves to the default."""

    name: Name
    type: Annotated[str, Field(min_length=1, max_length=64)]
    required: bool = False
    default: JsonValue = None

    @model_validator(mode="after")
    def _check_default(self) -> Self:
        if self.default not in (None, "") and not fits_type(self.type, self.default):
            refuse([Problem(("default",), f"is not of the type '{self.type}'")], of="AppVariable")
        return self


class AgentSoulConfig(Document):
    """An agent's configuration. It names secrets and never contains one."""

    document_name: ClassVar[str] = "agent_soul"

    schema_version: Literal[1] = 1
    prompt: PromptConfig = Field(default_factory=PromptConfig)
    skills_files: SkillsFilesConfig = Field(default_factory=SkillsFilesConfig)
    tools: ToolsConfig = Field(default_factory=ToolsConfig)
    knowledge: KnowledgeConfig = Field(default_factory=KnowledgeConfig)
    human: HumanConfig = Field(default_factory=HumanConfig)
    env: EnvConfig = Field(default_factory=EnvConfig)
    sandbox: SandboxConfig = Field(default_factory=SandboxConfig)
    memory: MemoryConfig = Field(default_factory=MemoryConfig)
    model: ModelConfig | None = None
    app_features: FreeObject = Field(default_factory=dict)
    app_variables: Annotated[list[AppVariable], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    misc_legacy: FreeObject = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_variable_names(self) -> Self:
        refuse(list(_repeated_names(self.app_variables)), of="AgentSoulConfig")
        return self


def parse_soul(value: object, *place: str | int) -> AgentSoulConfig:
    """Parses a decoded JSON value as a Soul. Raises MalformedRequest with every problem, below ``place``."""
    try:
        return AgentSoulConfig.model_validate(value)
    except ValidationError as error:
        raise malformed(error, *place) from None


def credential_names(soul: AgentSoulConfig) -> list[str]:
    """Returns the names of the credentials that a run of the Soul needs, each once, in the order of first mention."""
    model = soul.model.credential_ref if soul.model else None
    tools = [tool.credential_ref for tool in soul.tools.enabled_tools() if tool.credential_type != "unauthorized"]
    return list(dict.fromkeys(ref.id for ref in (model, *tools) if ref is not None and ref.id))


def _repeated_names(variables: list[AppVariable]) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, variable in enumerate(variables):
        if variable.name in seen:
            yield Problem(("app_variables", index, "name"), f"the name '{variable.name}' is used twice")
        seen.add(variable.name)
