"""Tools of Dify plugins, called through the plugin daemon on behalf of a model."""

from runtime.llm.plugin_tools.calls import PluginToolCaller
from runtime.llm.plugin_tools.parameter import ToolParameter, ToolParameterOption
from runtime.llm.plugin_tools.prepared import PreparedTool
from runtime.llm.plugin_tools.toolset import PluginToolset

__all__ = [
    "PluginToolCaller",
    "PluginToolset",
    "PreparedTool",
    "ToolParameter",
    "ToolParameterOption",
]
