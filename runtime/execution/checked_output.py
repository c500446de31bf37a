"""Checks the model's answer against the output layer's schema, within the layer's policy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, cast

from pydantic_ai import ModelRetry, RunContext, StructuredDict, ToolOutput
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models import ModelRequestContext
from pydantic_ai.output import OutputContext

from runtime.layers.dify_output import DifyOutputLayer
from runtime.output import CheckedOutput, OnFailure, OutputRejected
from runtime.protocol.dialects import Dialect
from runtime.protocol.redaction import Redactor

LIBRARY_RETRIES = 100
"""More than any policy allows: retries are counted by the policy, not by the library."""

MAX_ERRORS_TOLD = 20
MAX_PROBLEMS_TOLD = 3


class OutputSource(StrEnum):
    """Where the output of a run came from."""

    DIRECT = "direct"
    REPAIRED = "repaired"
    MODEL_RETRY = "model_retry"
    DEFAULT = "default"


@dataclass(slots=True)
class OutputValidation:
    """What was repaired and rejected on the way from the model's answer to the output."""

    source: OutputSource | None = None
    repairs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def as_json(self, redactor: Redactor) -> dict[str, Any]:
        errors = [redactor.clean(error) for error in self.errors[:MAX_ERRORS_TOLD]]
        return {"source": self.source, "repairs": self.repairs, "errors": errors}


class OutputValidationFailed(Exception):
    """Raised when no answer of the model satisfied the schema and the policy has no default."""

    def __init__(self, problems: list[str]) -> None:
        told = "; ".join(problems[:MAX_PROBLEMS_TOLD])
        super().__init__(f"the model's answer does not satisfy the output schema: {told}")


class CheckedOutputs(AbstractCapability[None]):
    """Checks every answer within one run: the output tool's arguments, or plain text instead of them."""

    def __init__(self, layer: DifyOutputLayer, dialect: Dialect) -> None:
        self.validation = OutputValidation()
        self.tool_name = layer.tool_name(dialect)
        self._checker = layer.checker()
        self._policy = layer.config.output_policy
        self._layer = layer
        self._rejections = 0
        self._answer_was_rejected = False
        self._was_cut = False
        self._accepted: dict[str, Any] | None = None

    def report(self, redactor: Redactor) -> dict[str, Any] | None:
        """Returns what happened to the answers, for the terminal event; None when no answer was checked."""
        happened = self.validation.source is not None or self.validation.errors
        return self.validation.as_json(redactor) if happened else None

    @property
    def output_type(self) -> ToolOutput[dict[str, Any]]:
        """The output tool as the model sees it."""
        config = self._layer.config
        return ToolOutput(
            StructuredDict(self._layer.schema.inlined),
            name=self.tool_name,
            description=config.description,
            max_retries=LIBRARY_RETRIES,
            strict=config.strict,
        )

    async def after_model_request(
        self, ctx: RunContext[None], *, request_context: ModelRequestContext, response: ModelResponse
    ) -> ModelResponse:
        """Treats a plain answer as if the model had called the output tool with it."""
        self._was_cut = response.finish_reason == "length"
        self._answer_was_rejected = False
        if any(isinstance(part, ToolCallPart) for part in response.parts):
            return response
        text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
        value = await self._accept(text)
        call = ToolCallPart(self.tool_name, value)
        self._accepted = value
        return replace(response, parts=[*response.parts, call])

    async def wrap_output_validate(
        self, ctx: RunContext[None], *, output_context: OutputContext, output: Any, handler: Any
    ) -> Any:
        if ctx.partial_output:
            return await handler(output)
        accepted, self._accepted = self._accepted, None
        return accepted if accepted is not None else await self._accept(output)

    async def _accept(self, raw: str | dict[str, Any]) -> dict[str, Any]:
        """Returns the value to answer with.

        Raises ModelRetry while the model may try again, and OutputValidationFailed when it may not.
        """
        try:
            checked = await self._checker.check_async(raw, truncated=self._was_cut)
        except OutputRejected as rejected:
            return self._reject([str(problem) for problem in rejected.problems])
        return self._succeed(checked)

    def _succeed(self, checked: CheckedOutput) -> dict[str, Any]:
        self.validation.repairs = [repair.kind for repair in checked.repairs]
        if self._rejections:
            self.validation.source = OutputSource.MODEL_RETRY
        else:
            self.validation.source = OutputSource.REPAIRED if checked.repairs else OutputSource.DIRECT
        value: dict[str, Any] = checked.value
        return value

    def _reject(self, problems: list[str]) -> dict[str, Any]:
        self.validation.errors.extend(problems)
        if not self._answer_was_rejected:  # one answer may contain several calls of the output tool
            self._answer_was_rejected = True
            self._rejections += 1
        if self._rejections <= self._policy.max_model_retries:
            raise ModelRetry("The answer does not satisfy the schema. Correct this: " + "; ".join(problems))
        if self._policy.on_failure is OnFailure.DEFAULT:
            self.validation.source = OutputSource.DEFAULT
            return cast(dict[str, Any], self._policy.default)
        raise OutputValidationFailed(problems)
