"""The lines of an answer: what the daemon writes, read into what the adapters work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from runtime.llm.usage import ModelUsage
from runtime.llm.wire.errors import WireError
from runtime.llm.wire.json_values import read_json, without_halves
from runtime.llm.wire.sse import BYTE_ORDER_MARK
from runtime.llm.wire.surrogates import mended
from runtime.llm.wire.tool_calls import ToolCallFragment, arguments_text, sent_id

T = TypeVar("T")


@dataclass(slots=True)
class Chunk:
    """One step of the answer. ``content`` is text, or a list of parts of several kinds."""

    content: str | list[Any]
    tool_calls: list[ToolCallFragment]
    usage: ModelUsage | None
    finish_reason: str | None


@dataclass(slots=True)
class ReportedFailure:
    """The daemon or the plugin failed after the stream had begun."""

    message: object


def read_line(line: bytes) -> Chunk | ReportedFailure | None:
    """Read one line of a model's answer; None for a blank one or a comment.

    Raises WireError for everything that is not the daemon's protocol.
    """
    data = read_frame(line)
    return _read_chunk(data) if isinstance(data, dict) else data


def read_frame(line: bytes) -> dict[str, Any] | ReportedFailure | None:
    """Read the frame that every answer of the daemon comes in, down to its data; None for a blank line or a comment.

    Raises WireError for everything that is not the daemon's protocol.
    """
    line = line.removeprefix(BYTE_ORDER_MARK)
    text = line.removeprefix(b"data:").strip()
    if not text or line.startswith(b":"):
        return None
    try:
        frame = read_json(text)
    except ValueError:
        # Not chained: the parser's error carries the line.
        frame = None
    if not isinstance(frame, dict):
        raise WireError("a line of the plugin daemon's answer is not a JSON object in UTF-8")
    code = frame.get("code")
    if type(code) is not int:
        raise WireError("a frame of the plugin daemon's answer has no code")
    if code != 0:
        return ReportedFailure(without_halves(frame.get("message")))
    return _required(frame, "data", dict)


def _read_chunk(data: dict[str, Any]) -> Chunk:
    delta = _required(data, "delta", dict)
    message: dict[str, Any] = _optional(delta, "message", dict) or {}
    content = message.get("content")
    if content is None:
        content = ""
    elif not isinstance(content, str | list):
        raise _wrong("content")
    calls = _optional(message, "tool_calls", list)
    usage = _optional(delta, "usage", dict)
    return Chunk(
        content=content,
        tool_calls=[_read_tool_call(call) for call in calls] if calls else [],
        usage=_read_usage(usage) if usage else None,
        finish_reason=_optional(delta, "finish_reason", str),
    )


def _read_tool_call(call: object) -> ToolCallFragment:
    if not isinstance(call, dict):
        raise _wrong("tool_calls")
    function: dict[str, Any] = _optional(call, "function", dict) or {}
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str | dict):
        raise _wrong("arguments")
    return ToolCallFragment(
        id=mended(sent_id(_optional(call, "id", str))),
        name=mended(_optional(function, "name", str) or ""),
        arguments=arguments_text(arguments),
    )


def _read_usage(usage: dict[str, Any]) -> ModelUsage:
    try:
        return ModelUsage.model_validate(usage)
    except ValidationError:
        pass
    raise _wrong("usage")


def _optional(fields: dict[str, Any], name: str, kind: type[T]) -> T | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, kind):
        raise _wrong(name)
    return value


def _required(fields: dict[str, Any], name: str, kind: type[T]) -> T:
    value = _optional(fields, name, kind)
    if value is None:
        raise WireError(f"a frame of the plugin daemon's answer has no {name}")
    return value


def _wrong(name: str) -> WireError:
    return WireError(f"a frame of the plugin daemon's answer has a malformed {name}")
