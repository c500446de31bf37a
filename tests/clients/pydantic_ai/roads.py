"""Runs that together produce everything a run can, with a model of every provider."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.clients.pydantic_ai import wires
from tests.support.client import RunClient, demo_llm, prompt, wait_until
from tests.support.plugin_daemon import Answer, ScriptedDaemon

TOOL = "find-comets"
OUTPUT_SCHEMA = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
OUTPUT = {"name": "output", "type": "dify.output", "config": {"json_schema": OUTPUT_SCHEMA}}
HISTORY = {"name": "history", "type": "pydantic_ai.history"}
QUESTION = {"question": "Go on?"}


class Wire(Protocol):
    """The way in which a provider writes an answer."""

    def rich(self) -> Answer: ...
    def calling(self, *calls: wires.Call) -> Answer: ...


@dataclass(frozen=True)
class Road:
    """The road to a model of one provider: the server that answers, and the layer that names the model."""

    name: str
    wire: Wire
    server: ScriptedDaemon
    layer: dict[str, Any]
    model: str
    """A format string for the model in the layer's config."""

    def layers(self, script: str, *answers: Answer) -> list[dict[str, Any]]:
        """The layers of a prompt and of a model that gives these answers."""
        named = f"{self.name}-{script}"
        self.server.script(named, *answers)
        config = {**self.layer["config"], "model": self.model.format(named)}
        context = {"tenant_id": "tenant-1", "user_id": "user-1", "invoke_from": "service-api"}
        return [
            prompt("How many comets?", prefix="Be brief."),
            {"name": "execution_context", "type": "dify.execution_context", "config": context},
            {**self.layer, "config": config},
        ]


def roads(daemon: ScriptedDaemon, provider: ScriptedDaemon) -> list[Road]:
    plugin = {
        "name": "llm",
        "type": "dify.plugin.llm",
        "deps": {"execution_context": "execution_context"},
        "config": {"plugin_id": "langgenius/openai", "model_provider": "openai", "credentials": {}},
    }
    found = [Road("plugin", wires.PluginDaemon(), daemon, plugin, "{}")]
    for prefix, path, wire in (
        ("openai", "/v1", wires.OpenAIChat()),
        ("openai-responses", "/v1", wires.OpenAIResponses()),
        ("anthropic", "", wires.Anthropic()),
        ("google", "", wires.Google()),
    ):
        config = {"base_url": provider.url + path, "credentials": {"api_key": "sk-canary"}}
        layer = {"name": "llm", "type": "greenrun.llm", "config": config}
        found.append(Road(prefix, wire, provider, layer, prefix + ":{}"))
    return found


@dataclass
class Runs:
    """Begins runs of all kinds, and waits for their ends."""

    client: RunClient
    daemon: ScriptedDaemon
    output_tool: str
    defers: bool
    ids: list[str] = field(default_factory=list)

    def begin_all(self, roads: list[Road]) -> None:
        self.ids += [
            self.client.create(prompt("one two"), HISTORY, demo_llm(call_tool="count_words")),
            self.client.create(prompt("one two"), demo_llm(fail="broken", fail_after=1)),
        ]
        self.daemon.script(TOOL, _tool_answer())
        for road in roads:
            self.ids += [self.client.create(*layers) for layers in self._compositions(road)]
        self.ids += [self.client.create(*layers) for layers in self._failing(roads[0])]
        self.ids.append(self._cancelled(roads[0]))

    def _compositions(self, road: Road) -> Iterator[list[dict[str, Any]]]:
        calling, rich = road.wire.calling, road.wire.rich()
        parallel = calling(("1", TOOL, {"query": "a"}), ("2", TOOL, {"query": "b"}), ("3", "no-such-tool", {"a": 1}))
        yield [*road.layers("tools", parallel, rich), HISTORY, _tools()]
        yield [*road.layers("output", self._output(road, "two"), self._output(road, 2)), HISTORY, OUTPUT]
        if self.defers:
            asking = calling(("6", "ask_human", QUESTION))
            yield [*road.layers("asking", asking), HISTORY, {"name": "ask", "type": "dify.ask_human", "config": {}}]

    def _failing(self, road: Road) -> Iterator[list[dict[str, Any]]]:
        yield [*road.layers("wrong", self._output(road, "two")), OUTPUT]
        yield road.layers("refusing", [{"error": {"error_type": "InvokeRateLimitError", "message": "slow down"}}])

    def _output(self, road: Road, count: object) -> Answer:
        return road.wire.calling(("5", self.output_tool, {"count": count}))

    def _cancelled(self, road: Road) -> str:
        run_id = self.client.create(*road.layers("cancelled", [{"text": "begun"}, {"hang": True}]))
        wait_until(lambda: len(self.client.page(run_id)["events"]) > 1)
        assert self.client.cancel(run_id, {"reason": "user", "message": "stop"}).status_code == 200
        return run_id

    def pages(self) -> list[dict[str, Any]]:
        """Returns all events of each run, once it has ended."""
        for run_id in self.ids:
            self.client.finish(run_id)
        return [self.client.page(run_id, limit=500) for run_id in self.ids]


def _tools() -> dict[str, Any]:
    tool = {
        "plugin_id": "langgenius/google:0.1@abc",
        "provider": "langgenius/google/google",
        "tool_name": TOOL,
        "credential_type": "api-key",
        "credentials": {},
        "runtime_parameters": {},
        "parameters": [{"name": "query", "type": "string", "form": "llm", "required": True}],
        "parameters_json_schema": {
            "type": "object",
            "properties": {"query": {"type": "string"}},
            "required": ["query"],
        },
    }
    config = {"tools": [tool]}
    return {
        "name": "tools",
        "type": "dify.plugin.tools",
        "deps": {"execution_context": "execution_context"},
        "config": config,
    }


def _tool_answer() -> Answer:
    return [
        {"data": {"type": "text", "message": {"text": "Two comets."}}},
        {
            "data": {
                "type": "json",
                "message": {"json_object": {"kind": "image-url", "url": "https://example.org", "n": 2}},
            }
        },
        {"data": {"type": "image_link", "message": {"text": "https://example.org/comet.png"}}},
    ]
