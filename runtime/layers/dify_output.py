"""``dify.output``: the answer as a JSON object that satisfies the caller's schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from runtime.composition.layer import Layer, NoState
from runtime.composition.layer_config import LayerConfigModel
from runtime.output import OutputChecker, OutputPolicy, OutputSchema
from runtime.protocol.dialects import RULES, Dialect

LATER_TOOL_NAME = "final_output"
"""The name of the output tool in every dialect but the first, which has it in the config."""


class DifyOutputConfig(LayerConfigModel):
    """The schema of the answer. ``name`` names the output tool in the dialect of 14 May 2026 only."""

    json_schema: dict[str, Any]
    name: str = Field(default="final_result", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = None
    strict: bool | None = None
    output_policy: OutputPolicy = Field(default_factory=OutputPolicy)


class DifyOutputLayer(Layer[DifyOutputConfig, NoState]):
    """Makes the model answer by calling an output tool, and holds the answer to the schema."""

    type_id = "dify.output"
    required_name = "output"
    config_type = DifyOutputConfig
    config_may_last = True

    def __init__(self, name: str, config: DifyOutputConfig, state: NoState) -> None:
        super().__init__(name, config, state)
        self.schema = OutputSchema.parse_object(config.json_schema)

    @classmethod
    def check_dependencies(cls, config: DifyOutputConfig, deps: Mapping[str, str]) -> None:
        """Raises ValueError when the schema cannot be used, or the policy's default does not satisfy it."""
        OutputChecker(OutputSchema.parse_object(config.json_schema), config.output_policy)

    def tool_names(self) -> list[str]:
        return sorted({self.config.name, LATER_TOOL_NAME})

    def tool_name(self, dialect: Dialect) -> str:
        """What the output tool is called."""
        return self.config.name if RULES[dialect].output_tool_is_configured else LATER_TOOL_NAME

    def checker(self) -> OutputChecker:
        """What holds an answer to the schema and the policy."""
        return OutputChecker(self.schema, self.config.output_policy)
