"""The parameters of a tool call: what the model gave, what was set up for it, and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.llm.plugin_tools.casting import UnfitValueError, cast_value
from runtime.llm.plugin_tools.parameter import ANY_TYPE, SELECT_TYPE, ToolParameter
from runtime.llm.plugin_tools.prepared import PreparedTool
from runtime.llm.plugin_tools.schema import takes_any_name


class UnfitArgumentsError(ValueError):
    """The tool cannot be called with these arguments; the text names the parameter and shows no value."""


def tool_parameters(tool: PreparedTool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the plugin is called with.

    The model's values for hidden parameters, and for names it was not shown, are left out. A null counts as no value,
    except where any value is taken. Raises UnfitArgumentsError.
    """
    hidden = tool.hidden_names()
    given = _shown_arguments(tool, arguments, hidden)
    parameters = {**given, **tool.runtime_parameters}
    for declared in tool.parameters:
        if declared.name in given and (given[declared.name] is not None or declared.type == ANY_TYPE):
            parameters[declared.name] = _cast_argument(declared, given[declared.name])
            continue
        prepared = tool.runtime_parameters.get(declared.name)
        value = declared.default if prepared is None else prepared
        if value is not None:
            parameters[declared.name] = _cast_prepared(declared, value)
        elif declared.required:
            raise _missing(declared, is_hidden=declared.name in hidden)
        else:
            parameters.pop(declared.name, None)
    return parameters


def _shown_arguments(tool: PreparedTool, arguments: Mapping[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    names = {parameter.name for parameter in tool.parameters} | set(tool.json_schema.get("properties", {}))
    is_open = takes_any_name(tool.json_schema)
    return {name: value for name, value in arguments.items() if name not in hidden and (is_open or name in names)}


def _cast_argument(declared: ToolParameter, value: Any) -> Any:
    try:
        cast = cast_value(declared.type, value)
    except UnfitValueError as error:
        raise UnfitArgumentsError(f"the parameter '{declared.name}' {error}") from None
    allowed = [option.value for option in declared.options]
    if declared.type == SELECT_TYPE and allowed and cast not in allowed:
        raise UnfitArgumentsError(f"the parameter '{declared.name}' must be one of: {', '.join(allowed)}")
    return cast


def _cast_prepared(declared: ToolParameter, value: Any) -> Any:
    """What was set up and does not fit goes to the plugin as it is: the model could not mend it."""
    try:
        return cast_value(declared.type, value)
    except UnfitValueError:
        return value


def _missing(declared: ToolParameter, *, is_hidden: bool) -> UnfitArgumentsError:
    if is_hidden:
        return UnfitArgumentsError(f"the required parameter '{declared.name}' is not set up, which only a user can do")
    return UnfitArgumentsError(f"the required parameter '{declared.name}' is missing")
