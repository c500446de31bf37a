"""The tools of Dify plugins that an agent may use."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from services.souls.document import MAX_ITEMS, Description, FreeObject, FreeObjects, Name, Part, ShortText

DEFAULT_ORGANISATION = "langgenius"
PROVIDER_ID_PARTS = 3

ToolIdentity = tuple[str, str, str]
"""The plugin's id, the provider and the tool's name."""

_PLUGINS_BY_PROVIDER = {name: f"{name}_tool" for name in ("gitee_ai", "jina", "siliconflow", "stepfun")}
"""The providers whose plugin has another name than they do."""

_LEGACY_KEYS = {"provider_name": "provider_id", "tool_parameters": "runtime_parameters"}


class ToolCredentialRef(Part):
    """The credential that a tool is called with. ``id`` is the name of a credential of the tenant."""

    type: Literal["provider", "tool"]
    id: ShortText | None = None
    provider: ShortText | None = None


class DifyTool(Part):
    """One tool of a plugin. Unknown keys are dropped."""

    model_config = ConfigDict(extra="ignore")

    enabled: bool = True
    provider_type: Literal["plugin"] = "plugin"
    provider_id: Name | None = None
    """``org/plugin/provider``; otherwise ``plugin_id`` and ``provider`` are given."""
    plugin_id: Name | None = None
    provider: Name | None = None
    tool_name: Name
    credential_type: Literal["api-key", "oauth2", "unauthorized"] = "api-key"
    credential_ref: ToolCredentialRef | None = None
    name: Name | None = None
    description: Description | None = None
    runtime_parameters: FreeObject = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _take_legacy_keys(cls, value: Any) -> Any:
        """Renames the keys of older documents. If a new key is there too, it counts."""
        if not isinstance(value, dict):
            return value
        taken = {**value}
        for legacy, key in _LEGACY_KEYS.items():
            if legacy in taken:
                taken.setdefault(key, taken[legacy])
        if taken.get("credential_id") and taken.get("credential_ref") is None:
            provider = taken.get("provider_id") or taken.get("provider")
            taken["credential_ref"] = {"type": "tool", "id": taken["credential_id"], "provider": provider}
        return taken

    @model_validator(mode="after")
    def _check_form(self) -> Self:
        if self.provider_id is None and (self.plugin_id is None or self.provider is None):
            raise ValueError("provider_id is needed, or both plugin_id and provider")
        if self.name is not None and self.name != self.tool_name:
            raise ValueError("name must equal tool_name when it is given")
        if self.credential_type != "unauthorized" and not (self.credential_ref and self.credential_ref.id):
            raise ValueError("credential_ref.id is needed unless credential_type is 'unauthorized'")
        return self

    @field_validator("provider_id")
    @classmethod
    def _has_three_parts_at_most(cls, value: str | None) -> str | None:
        parts = (value or "bare").split("/")
        if len(parts) > PROVIDER_ID_PARTS or not all(part.strip() for part in parts):
            raise ValueError("must be 'org/plugin/provider', or the bare name of a provider")
        return value

    @property
    def identity(self) -> ToolIdentity:
        """What identifies the tool across versions."""
        return *self.place, self.tool_name

    @property
    def place(self) -> tuple[str, str]:
        """The id of its plugin and the name of the provider in that."""
        if self.provider_id is None:
            return self.plugin_id or "", self.provider or ""
        *plugin, provider = self.provider_id.split("/")
        if not plugin:
            return f"{DEFAULT_ORGANISATION}/{_PLUGINS_BY_PROVIDER.get(provider, provider)}", provider
        return "/".join(plugin) if len(plugin) > 1 else self.provider_id, provider


class ToolsConfig(Part):
    """The tools that an agent may use. ``cli_tools`` are stored and not executed."""

    dify_tools: Annotated[list[DifyTool], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    cli_tools: FreeObjects = Field(default_factory=list)

    def enabled_tools(self) -> list[DifyTool]:
        """Returns the tools of a run."""
        return [tool for tool in self.dify_tools if tool.enabled]
