"""A tool that is ready to be called: everything but the model's arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.llm.plugin_tools.parameter import SECRET_TYPE, ToolParameter


@dataclass(frozen=True, slots=True)
class PreparedTool:
    """One tool of a plugin. ``name`` is what the model calls it by, ``tool_name`` what the plugin does."""

    plugin_id: str
    provider: str
    tool_name: str
    name: str
    description: str
    credential_type: str
    credentials: Mapping[str, Any] = field(repr=False)
    runtime_parameters: Mapping[str, Any] = field(repr=False)
    parameters: Sequence[ToolParameter]
    json_schema: Mapping[str, Any]

    def hidden_names(self) -> frozenset[str]:
        """Parameters that the model neither sees nor sets."""
        declared = {parameter.name for parameter in self.parameters if parameter.form != "llm"}
        return frozenset(declared | set(self.runtime_parameters))

    def secrets(self) -> list[str]:
        """Credentials, and parameters that are declared to be secret."""
        secret_names = {parameter.name for parameter in self.parameters if parameter.type == SECRET_TYPE}
        hidden = [value for name, value in self.runtime_parameters.items() if name in secret_names]
        return [
            *(value for value in self.credentials.values() if isinstance(value, str)),
            *(str(value) for value in hidden if isinstance(value, str | int | float) and not isinstance(value, bool)),
        ]
