"""The outputs that a workflow node declares: their types, their checks and the schema for a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from services.souls.document import (
    MAX_ITEMS,
    MAX_PROMPT_CHARS,
    Description,
    FreeObject,
    Part,
    ShortText,
)
from services.souls.problems import Problem, refuse

ItemType = Literal["string", "number", "object", "boolean", "file"]
OutputType = Literal[ItemType, "array"]

OUTPUT_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*\z"
MAX_RETRIES = 10
MAX_RETRY_INTERVAL_MS = 60_000

_FILE_ID_KEYS = ("file_id", "upload_file_id", "tool_file_id")
_FILE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {key: {"type": "string"} for key in ("file_id", "filename", "mime_type", "url")},
}


class FileRules(Part):
    """Which files are accepted."""

    extensions: Annotated[list[ShortText], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    mime_types: Annotated[list[ShortText], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)


class ArrayItem(Part):
    """What an array contains; never arrays."""

    type: ItemType = "object"
    description: Description | None = None


class OutputCheck(Part):
    """A check of a file against another file, the benchmark."""

    enabled: bool = False
    prompt: Annotated[str, Field(max_length=MAX_PROMPT_CHARS)] | None = None
    benchmark_file_ref: FreeObject | None = None
    model_ref: FreeObject | None = None


class RetryRule(Part):
    """Whether the whole run is tried again, and after how many milliseconds."""

    enabled: bool = False
    max_retries: int = Field(default=0, ge=0, le=MAX_RETRIES)
    retry_interval_ms: int = Field(default=0, ge=0, le=MAX_RETRY_INTERVAL_MS)


class FailureStrategy(Part):
    """What happens to the node when an output is not as declared."""

    retry: RetryRule = Field(default_factory=RetryRule)
    on_failure: Literal["stop", "default_value", "fail_branch"] = "stop"
    default_value: JsonValue = None


class DeclaredOutput(Part):
    """One output of a node."""

    id: ShortText | None = None
    name: Annotated[str, Field(pattern=OUTPUT_NAME_PATTERN, max_length=255)]
    type: OutputType
    description: Description | None = None
    required: bool = True
    file: FileRules | None = None
    array_item: ArrayItem | None = None
    check: OutputCheck | None = None
    failure_strategy: FailureStrategy = Field(default_factory=FailureStrategy)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, value: Any) -> Any:
        """Replaces a null strategy by the default one, and lets an array of undeclared items hold objects."""
        if not isinstance(value, dict):
            return value
        filled = {**value}
        if filled.get("failure_strategy", ...) is None:
            del filled["failure_strategy"]
        if filled.get("type") == "array" and filled.get("array_item") is None:
            filled["array_item"] = {}
        return filled

    @model_validator(mode="after")
    def _check_together(self) -> DeclaredOutput:
        refuse(list(self._problems()), of="DeclaredOutput")
        return self

    def _problems(self) -> Iterator[Problem]:
        if self.file is not None and self.type != "file":
            yield Problem(("file",), "only an output of the type 'file' has it")
        if self.array_item is not None and self.type != "array":
            yield Problem(("array_item",), "only an output of the type 'array' has it")
        if self.check is not None and self.check.enabled:
            yield from self._check_problems(self.check)
        strategy = self.failure_strategy
        if strategy.on_failure == "default_value":
            reason = (
                "is needed when on_failure is 'default_value'"
                if strategy.default_value is None
                else self.misfit(strategy.default_value)
            )
            if reason is not None:
                yield Problem(("failure_strategy", "default_value"), reason)

    def _check_problems(self, check: OutputCheck) -> Iterator[Problem]:
        if self.type != "file":
            yield Problem(("check", "enabled"), "only an output of the type 'file' can be checked")
        if not (check.prompt and check.prompt.strip()):
            yield Problem(("check", "prompt"), "is needed when the check is enabled")
        if not check.benchmark_file_ref:
            yield Problem(("check", "benchmark_file_ref"), "is needed when the check is enabled")

    def misfit(self, value: JsonValue) -> str | None:
        """Returns why a value does not fit this output, or None.

        A file is given by its id; whose file it is, is not checked.
        """
        if self.type != "array":
            return _misfit(self.type, value)
        if not isinstance(value, list):
            return "must be an array"
        item_type = (self.array_item or ArrayItem()).type
        for index, item in enumerate(value):
            if (reason := _misfit(item_type, item)) is not None:
                return f"items[{index}]: {reason}"
        return None

    def value_schema(self) -> dict[str, Any]:
        """Returns the JSON Schema of a value."""
        if self.type == "array":
            item = self.array_item or ArrayItem()
            schema = {"type": "array", "items": _type_schema(item.type, item.description)}
            return schema if self.description is None else {**schema, "description": self.description}
        return _type_schema(self.type, self.description)


DEFAULT_OUTPUTS = (
    DeclaredOutput(name="text", type="string", required=False),
    DeclaredOutput(name="files", type="array", required=False, array_item=ArrayItem(type="file")),
    DeclaredOutput(name="json", type="object", required=False),
)
"""The outputs of a node that declares none. They are never stored."""


def effective_declared_outputs(declared: Sequence[DeclaredOutput]) -> list[DeclaredOutput]:
    """Returns the outputs that a run of the node must return: those declared, or else the default ones."""
    return list(declared) or list(DEFAULT_OUTPUTS)


def outputs_schema(outputs: Sequence[DeclaredOutput]) -> dict[str, Any]:
    """Returns the JSON Schema of an object with all these outputs."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {output.name: output.value_schema() for output in outputs},
    }
    if required := [output.name for output in outputs if output.required]:
        schema["required"] = required
    return schema


def output_problems(outputs: Sequence[DeclaredOutput]) -> Iterator[Problem]:
    """Yields what is wrong with the outputs taken together."""
    seen: set[str] = set()
    for index, output in enumerate(outputs):
        if output.name in seen:
            yield Problem((index, "name"), f"the name '{output.name}' is used twice")
        seen.add(output.name)


def _type_schema(type_name: OutputType, description: str | None) -> dict[str, Any]:
    schema = dict(_FILE_SCHEMA) if type_name == "file" else {"type": type_name}
    return schema if description is None else {**schema, "description": description}


def _misfit(type_name: OutputType, value: JsonValue) -> str | None:
    match type_name:
        case "string":
            fits = isinstance(value, str)
        case "number":
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            fits = isinstance(value, bool)
        case "object":
            fits = isinstance(value, dict)
        case "array":
            fits = isinstance(value, list)
        case "file":
            fits = isinstance(value, dict) and any(isinstance(value.get(key), str) for key in _FILE_ID_KEYS)
    return None if fits else f"must be of the type '{type_name}'"
