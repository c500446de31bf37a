"""The layer types this server knows, by type id. A new type is one file beside this one and one line here."""

from __future__ import annotations

from runtime.composition.binding import LayerRegistry
from runtime.layers.demo_llm import DemoLlmLayer
from runtime.layers.dify_ask_human import AskHumanLayer
from runtime.layers.dify_identity import DifyPluginLayer, ExecutionContextLayer
from runtime.layers.dify_output import DifyOutputLayer
from runtime.layers.dify_plugin_llm import DifyPluginLlmLayer
from runtime.layers.dify_plugin_tools import DifyPluginToolsLayer
from runtime.layers.greenrun_llm import GreenrunLlmLayer
from runtime.layers.greenrun_mcp import GreenrunMcpLayer
from runtime.layers.history import HistoryLayer
from runtime.layers.plain_prompt import PlainPromptLayer

LAYER_TYPES: LayerRegistry = {
    layer.type_id: layer
    for layer in (
        PlainPromptLayer,
        DifyPluginLayer,
        ExecutionContextLayer,
        DifyPluginLlmLayer,
        DifyPluginToolsLayer,
        DifyOutputLayer,
        HistoryLayer,
        AskHumanLayer,
        GreenrunLlmLayer,
        GreenrunMcpLayer,
        DemoLlmLayer,
    )
}
