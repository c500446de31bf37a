"""``dify.ask_human``: a tool with which the model asks a person. It ends the run; the next one brings the answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_ai import RunContext
from pydantic_ai.exceptions import CallDeferred, ModelRetry, ToolFailed
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema

from runtime.composition.layer import NoState
from runtime.composition.layer_config import LayerConfigModel
from runtime.layers.tool_layer import ToolLayer
from runtime.llm.clients import ModelClients
from runtime.protocol.ask_human import FILE_FIELD_TYPES, IDENTIFIER_PATTERN, SUBMIT, AskHumanArguments, FieldType
from runtime.protocol.ask_human_schema import arguments_schema
from runtime.protocol.problems import problems_text

MAX_RETRIES = 3
"""Times in one run that the model may get the arguments wrong; one more fails the run."""

ARGUMENTS_VERSION = 1
"""Of the arguments as the terminal event has them."""

USUAL_FIELD_TYPES: tuple[FieldType, ...] = ("paragraph", "select")

ONLY_ONE = (
    "This was not asked, because another question of yours is put to the person first. "
    "If you still need it when the answer is there, ask again."
)

DESCRIPTION = (
    "Put one question to a person and wait for the answer. Meant for what only a person can give: a decision, "
    "an approval, or a fact found neither in the conversation nor with another tool. "
    "The person sees a form with the question, the fields you name and a button for each action."
)

_OBJECT = SchemaValidator(core_schema.dict_schema(core_schema.str_schema()))


class AskHumanConfig(LayerConfigModel):
    """The tool's name, and how much the model may ask at once. Every limit has a bound of this server's own."""

    enabled: bool = True
    tool_name: str = Field(default="ask_human", pattern=IDENTIFIER_PATTERN, max_length=64)
    tool_description: str | None = Field(default=None, max_length=4000)
    max_fields: int = Field(default=8, ge=0, le=16)
    max_actions: int = Field(default=4, ge=1, le=8)
    allowed_field_types: list[FieldType] = Field(default_factory=lambda: list(USUAL_FIELD_TYPES))
    allow_file_fields: bool = False
    max_markdown_chars: int = Field(default=8000, ge=0, le=20000)
    max_question_chars: int = Field(default=1000, ge=1, le=4000)
    max_field_label_chars: int = Field(default=120, ge=1, le=200)
    max_action_label_chars: int = Field(default=80, ge=1, le=120)

    @model_validator(mode="after")
    def _check_file_types(self) -> Self:
        if not self.allow_file_fields and not FILE_FIELD_TYPES.isdisjoint(self.allowed_field_types):
            raise ValueError("allowed_field_types has file fields, but allow_file_fields is false")
        return self


class AskHumanLayer(ToolLayer[AskHumanConfig, NoState]):
    """The tool and what the model is told of it; nothing at all when it is not enabled."""

    type_id = "dify.ask_human"
    reserved_name = "ask_human"
    config_type = AskHumanConfig
    at_most_one = True
    config_may_last = True

    def system_prefixes(self) -> list[str]:
        return [_hint(self.config)] if self.config.enabled else []

    def tool_names(self) -> list[str]:
        return [self.config.tool_name] if self.config.enabled else []

    def toolsets(self, clients: ModelClients) -> list[AbstractToolset[None]]:
        return [AskHumanToolset(self.config)] if self.config.enabled else []

    def deferred_tool_names(self) -> list[str]:
        return self.tool_names()

    def deferred_args(self, call: ToolCallPart) -> dict[str, Any]:
        """The arguments with their defaults filled in."""
        return AskHumanArguments.model_validate(call.args_as_dict()).as_wire()


class AskHumanToolset(AbstractToolset[None]):
    """The tool in one run, which a single valid call ends."""

    def __init__(self, config: AskHumanConfig) -> None:
        self._config = config
        self._is_asked = False

    @property
    def id(self) -> str | None:
        return None

    async def get_tools(self, ctx: RunContext[None]) -> dict[str, ToolsetTool[None]]:
        definition = ToolDefinition(
            name=self._config.tool_name,
            description=(self._config.tool_description or "").strip() or DESCRIPTION,
            parameters_json_schema=_schema(self._config),
            # Not a function: Pydantic AI then takes back a question asked beside a final output.
            kind="external",
        )
        tool = ToolsetTool[None](
            toolset=self,
            tool_def=definition,
            max_retries=MAX_RETRIES,
            args_validator=_OBJECT,
            args_validator_func=self._defer,
        )
        return {definition.name: tool}

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[None], tool: ToolsetTool[None]
    ) -> NoReturn:
        raise RuntimeError(f"{name} is answered by the next run and cannot be called")

    def _defer(self, _: RunContext[None], /, **given: Any) -> NoReturn:
        """End the run with this call. Raises ModelRetry for wrong arguments, and ToolFailed for a second question."""
        if self._is_asked:
            raise ToolFailed(ONLY_ONE)
        try:
            arguments = AskHumanArguments.model_validate(given)
        except ValidationError as error:
            problems = problems_text(error)
        else:
            problems = "; ".join(_breaches(arguments, self._config))
        if problems:
            raise ModelRetry(f"The question was not asked. {problems}")
        self._is_asked = True
        raise CallDeferred(
            metadata={
                "layer_type": AskHumanLayer.type_id,
                "tool_name": self._config.tool_name,
                "schema_version": ARGUMENTS_VERSION,
            }
        )


def _breaches(arguments: AskHumanArguments, config: AskHumanConfig) -> Iterator[str]:
    """The limits of the composition that valid arguments go over."""
    yield from _too_long("question", arguments.question, config.max_question_chars)
    yield from _too_long("markdown", arguments.markdown or "", config.max_markdown_chars)
    if len(arguments.fields) > config.max_fields:
        yield f"fields: at most {config.max_fields} are allowed"
    if len(arguments.actions) > config.max_actions:
        yield f"actions: at most {config.max_actions} are allowed"
    for index, field in enumerate(arguments.fields):
        if field.type not in config.allowed_field_types:
            allowed = ", ".join(config.allowed_field_types) or "none"
            yield f"fields.{index}.type: '{field.type}' is not allowed here; allowed: {allowed}"
        yield from _too_long(f"fields.{index}.label", field.label, config.max_field_label_chars)
    for index, action in enumerate(arguments.actions):
        if action != SUBMIT:
            yield from _too_long(f"actions.{index}.label", action.label, config.max_action_label_chars)


def _too_long(place: str, text: str, limit: int) -> Iterator[str]:
    if len(text) > limit:
        yield f"{place}: at most {limit} characters are allowed"


def _schema(config: AskHumanConfig) -> dict[str, Any]:
    return arguments_schema(
        field_types=list(dict.fromkeys(config.allowed_field_types)),
        max_fields=config.max_fields,
        max_actions=config.max_actions,
        max_question_chars=config.max_question_chars,
        max_markdown_chars=config.max_markdown_chars,
        max_field_label_chars=config.max_field_label_chars,
        max_action_label_chars=config.max_action_label_chars,
    )


def _hint(config: AskHumanConfig) -> str:
    name = config.tool_name
    form = (
        f"The form may have up to {config.max_fields} fields ({', '.join(config.allowed_field_types)}) "
        if config.max_fields and config.allowed_field_types
        else "The form has no fields, only the question "
    )
    return (
        f"You can ask a person with the tool {name}. Do so only when you cannot go on without what a person alone can "
        f"decide or knows; first use what you were told and your other tools. Ask once, and put all that you need into "
        f"one call: a second question beside it is not asked. "
        f"{form}and up to {config.max_actions} actions. "
        f"The question has at most {config.max_question_chars} characters. "
        f"The result says in status what became of it: submitted comes with the chosen action and the values of the "
        f"fields; after timeout, cancelled or unavailable there is no answer, and you go on as well as you can."
    )
