"""The limits of a run that can be checked on its events."""

from __future__ import annotations

from pydantic_ai.messages import AgentStreamEvent, ToolCallEvent, ToolResultEvent

from runtime.config import RunLimits


class RunLimitExceeded(Exception):
    """Raised when a run exceeds one of the operator's limits; ``reason`` names the limit."""

    def __init__(self, text: str, *, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


def check_limits(event: AgentStreamEvent, limits: RunLimits) -> None:
    """Raises RunLimitExceeded for a tool call or result that is too large."""
    if isinstance(event, ToolCallEvent):
        size = len(event.part.args_as_json_str().encode())
        if size > limits.tool_argument_bytes:
            raise RunLimitExceeded(
                f"the model called the tool {event.part.tool_name} with {size} bytes of arguments; "
                f"at most {limits.tool_argument_bytes} are allowed",
                reason="tool_arguments_too_large",
            )
    elif isinstance(event, ToolResultEvent):
        size = len(event.part.model_response_str().encode())
        if size > limits.tool_result_bytes:
            raise RunLimitExceeded(
                f"the tool {event.part.tool_name} returned {size} bytes; "
                f"at most {limits.tool_result_bytes} are allowed",
                reason="tool_result_too_large",
            )
