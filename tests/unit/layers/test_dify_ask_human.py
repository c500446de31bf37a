"""``dify.ask_human``: its config, its limits, and what becomes of a run whose model asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
from pydantic_ai import Agent, RunContext, ToolOutput
from pydantic_ai.exceptions import UnexpectedModelBehavior
from pydantic_ai.messages import AgentStreamEvent, ModelMessage, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset

from errors import InvalidComposition
from runtime.composition.binding import bind_composition
from runtime.composition.composition import Composition
from runtime.composition.layer import NoState
from runtime.layers.dify_ask_human import MAX_RETRIES, AskHumanConfig, AskHumanLayer
from runtime.layers.registry import LAYER_TYPES
from runtime.llm.clients import ModelClients
from runtime.protocol.requests import CompositionSpec, OnExit

NO_CLIENTS = cast(ModelClients, None)
METADATA = {"layer_type": "dify.ask_human", "tool_name": "ask_human", "schema_version": 1}

Answer = str | list[tuple[str, str, str]]
"""What the model says: a text, or tool calls with a name, arguments in JSON and an id."""


def asked(call_id: str, /, **arguments: Any) -> tuple[str, str, str]:
    return "ask_human", json.dumps(arguments), call_id


def count_words(text: str) -> int:
    """Count words."""
    return len(text.split())


def final_answer(text: str) -> str:
    """The final answer."""
    return text


def layer(**config: Any) -> AskHumanLayer:
    return AskHumanLayer("ask", AskHumanConfig(**config), NoState())


def bind(*configs: dict[str, Any]) -> Composition:
    layers = [
        {"name": f"ask-{index}", "type": "dify.ask_human", "config": config} for index, config in enumerate(configs)
    ]
    spec = CompositionSpec.model_validate({"layers": layers})
    return bind_composition(spec, registry=LAYER_TYPES, on_exit=OnExit(), snapshot=None)


def refusal(*configs: dict[str, Any]) -> str:
    with pytest.raises(InvalidComposition) as caught:
        bind(*configs)
    return caught.value.message


@dataclass
class Told:
    """What a run came to, and what its model was shown in each call."""

    result: AgentRunResult[Any]
    kinds: list[str]
    shown: list[list[ModelMessage]]
    infos: list[AgentInfo]

    @property
    def deferred(self) -> DeferredToolRequests:
        assert isinstance(self.result.output, DeferredToolRequests)
        return self.result.output

    def tool_results(self) -> dict[str, ToolReturnPart]:
        parts = [part for message in self.result.all_messages() for part in message.parts]
        return {part.tool_call_id: part for part in parts if isinstance(part, ToolReturnPart)}


def run(
    *answers: Answer,
    prompt: str | None = "Deploy it.",
    after: Told | None = None,
    results: dict[str, Any] | None = None,
    output: Any = str,
    **config: Any,
) -> Told:
    """Let a model give these answers, one a call."""
    shown: list[list[ModelMessage]] = []
    infos: list[AgentInfo] = []
    kinds: list[str] = []

    async def speak(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
        answer = answers[len(shown)]
        shown.append(messages)
        infos.append(info)
        if isinstance(answer, str):
            yield answer
            return
        for index, (name, arguments, call_id) in enumerate(answer):
            yield {index: DeltaToolCall(name=name, json_args=arguments, tool_call_id=call_id)}

    async def note(_: RunContext[None], events: AsyncIterable[AgentStreamEvent]) -> None:
        kinds.extend([event.event_kind async for event in events])

    async def scenario() -> AgentRunResult[Any]:
        agent: Agent[None, Any] = Agent(
            FunctionModel(stream_function=speak), output_type=[output, DeferredToolRequests]
        )
        toolsets: list[AbstractToolset[None]] = [*layer(**config).toolsets(NO_CLIENTS), FunctionToolset([count_words])]
        return await agent.run(
            prompt,
            message_history=after.result.all_messages() if after is not None else None,
            deferred_tool_results=DeferredToolResults(calls=results) if results is not None else None,
            toolsets=toolsets,
            event_stream_handler=note,
        )

    return Told(asyncio.run(scenario()), kinds, shown, infos)


@pytest.mark.parametrize(
    ("key", "greatest"),
    [
        ("max_fields", 16),
        ("max_actions", 8),
        ("max_markdown_chars", 20000),
        ("max_question_chars", 4000),
        ("max_field_label_chars", 200),
        ("max_action_label_chars", 120),
    ],
)
def test_a_limit_may_be_raised_to_the_bound_of_the_server_and_no_further(key: str, greatest: int) -> None:
    bind({key: greatest})

    assert refusal({key: greatest + 1}) == (
        f"layer 'ask-0': config is invalid: {key}: Input should be less than or equal to {greatest}"
    )


@pytest.mark.parametrize("name", ["ask human", "ask-human", "2ask", "", "a" * 65])
def test_the_tool_name_is_an_identifier(name: str) -> None:
    assert "config is invalid: tool_name: String should" in refusal({"tool_name": name})


@pytest.mark.parametrize("type_id", ["file", "file-list"])
def test_file_fields_need_both_keys(type_id: str) -> None:
    types = ["paragraph", type_id]

    assert refusal({"allowed_field_types": types}).endswith(
        "allowed_field_types has file fields, but allow_file_fields is false"
    )
    bind({"allowed_field_types": types, "allow_file_fields": True})


def test_there_may_be_only_one() -> None:
    assert refusal({}, {"tool_name": "other"}) == "there may be only one layer of type 'dify.ask_human'"


def test_the_hint_names_the_tool_and_its_limits() -> None:
    (hint,) = bind({"tool_name": "human_gate", "max_fields": 3, "max_question_chars": 77}).system_prompts()

    assert "human_gate" in hint
    assert "up to 3 fields (paragraph, select)" in hint
    assert "77 characters" in hint


def test_the_hint_describes_a_form_without_fields() -> None:
    (hint,) = layer(max_fields=0).system_prefixes()

    assert "has no fields" in hint


def test_a_layer_that_is_not_enabled_adds_nothing() -> None:
    composition = bind({"enabled": False})
    off = layer(enabled=False)

    assert composition.system_prompts() == []
    assert composition.tool_names() == []
    assert off.toolsets(NO_CLIENTS) == []
    assert off.deferred_tool_names() == []


def test_the_model_sees_the_tool_as_it_is_configured() -> None:
    told = run("Done.", tool_name="human_gate", tool_description="Ask the boss.", max_actions=2)

    (tool,) = [tool for tool in told.infos[0].function_tools if tool.name == "human_gate"]
    assert tool.description == "Ask the boss."
    assert tool.parameters_json_schema["properties"]["actions"]["maxItems"] == 2


def test_a_question_ends_the_run() -> None:
    told = run([asked("call-1", question="Go?")])

    (call,) = told.deferred.calls
    assert (call.tool_name, call.tool_call_id) == ("ask_human", "call-1")
    assert told.deferred.metadata == {"call-1": METADATA}
    assert told.kinds[-2:] == ["function_tool_call", "deferred_tool_requests"]


def test_the_arguments_are_passed_on_with_their_defaults() -> None:
    told = run([asked("call-1", question="Go?")])

    assert layer().deferred_args(told.deferred.calls[0]) == {
        "question": "Go?",
        "fields": [],
        "actions": [{"id": "submit", "label": "Submit", "style": "primary"}],
        "urgency": "normal",
    }


@pytest.mark.parametrize(
    ("config", "arguments", "told"),
    [
        ({"max_question_chars": 4}, {"question": "Where?"}, "question: at most 4 characters are allowed"),
        ({"max_markdown_chars": 3}, {"question": "?", "markdown": "abcd"}, "markdown: at most 3 characters"),
        ({"max_fields": 1}, {"fields": [["a", "A"], ["b", "B"]]}, "fields: at most 1 are allowed"),
        ({"max_fields": 0}, {"fields": [["a", "A"]]}, "fields: at most 0 are allowed"),
        ({"max_field_label_chars": 2}, {"fields": [["a", "A"], ["b", "BBB"]]}, "fields.1.label: at most 2 characters"),
        (
            {"allowed_field_types": ["select"]},
            {"fields": [["a", "A"]]},
            "fields.0.type: 'paragraph' is not allowed here; allowed: select",
        ),
        ({"allowed_field_types": []}, {"fields": [["a", "A"]]}, "allowed: none"),
        ({"max_actions": 1}, {"actions": ["a", "b"]}, "actions: at most 1 are allowed"),
        ({"max_action_label_chars": 2}, {"actions": ["abc"]}, "actions.0.label: at most 2 characters"),
        ({}, {"question": ""}, "question: Value error, it must not be blank"),
        ({}, {"ctx": 1, "self": 2}, "ctx: Extra inputs are not permitted; self: Extra inputs are not permitted"),
    ],
)
def test_a_question_beyond_the_limits_goes_back_to_the_model(
    config: dict[str, Any], arguments: dict[str, Any], told: str
) -> None:
    arguments = {"question": "?", **arguments}
    if "fields" in arguments:
        arguments["fields"] = [
            {"type": "paragraph", "name": name, "label": label} for name, label in arguments["fields"]
        ]
    if "actions" in arguments:
        arguments["actions"] = [{"id": label, "label": label} for label in arguments["actions"]]

    ran = run([("ask_human", json.dumps(arguments), "call-1")], [asked("call-2", question="Go?")], **config)

    refused = ran.tool_results()["call-1"]
    assert refused.outcome == "retried"
    assert str(refused.content).startswith("The question was not asked. ")
    assert told in str(refused.content)
    assert [call.tool_call_id for call in ran.deferred.calls] == ["call-2"]


@pytest.mark.parametrize("arguments", ["[]", '"Go?"', "{", "null"])
def test_arguments_that_are_not_an_object_go_back_to_the_model(arguments: str) -> None:
    ran = run([("ask_human", arguments, "call-1")], [asked("call-2", question="Go?")])

    assert ran.tool_results()["call-1"].outcome == "retried"
    assert [call.tool_call_id for call in ran.deferred.calls] == ["call-2"]


def test_a_file_field_can_be_allowed() -> None:
    field = {"type": "file", "name": "plan", "label": "Plan"}

    ran = run(
        [asked("call-1", question="Which?", fields=[field])], allowed_field_types=["file"], allow_file_fields=True
    )

    assert [call.tool_call_id for call in ran.deferred.calls] == ["call-1"]


def test_a_model_that_never_gets_it_right_fails_the_run() -> None:
    with pytest.raises(UnexpectedModelBehavior, match="exceeded max retries"):
        run(*[[asked(f"call-{number}", question="")] for number in range(MAX_RETRIES + 1)])


def test_only_the_first_of_two_questions_is_asked() -> None:
    ran = run([asked("call-1", question="Go?"), asked("call-2", question="Where?")])

    assert [call.tool_call_id for call in ran.deferred.calls] == ["call-1"]
    refused = ran.tool_results()["call-2"]
    assert refused.outcome == "failed"
    assert "was not asked" in str(refused.content)


def test_a_wrong_second_question_does_not_break_the_first() -> None:
    ran = run([asked("call-1", question="Go?"), asked("call-2", question="")])

    assert [call.tool_call_id for call in ran.deferred.calls] == ["call-1"]


def test_a_good_question_beside_a_wrong_one_is_asked() -> None:
    ran = run([asked("call-1", question=""), asked("call-2", question="Go?")])

    assert [call.tool_call_id for call in ran.deferred.calls] == ["call-2"]
    assert ran.tool_results()["call-1"].outcome == "retried"


def test_the_answer_is_the_result_of_the_call_and_no_message_of_the_user() -> None:
    first = run([asked("call-1", question="Go?")])
    answer = {"status": "submitted", "action": {"id": "go", "label": "Go"}, "values": {}}

    second = run("Deployed.", prompt=None, after=first, results={"call-1": answer})

    assert second.result.output == "Deployed."
    (request,) = [message for message in second.shown[0] if message.kind == "request"][1:]
    (part,) = request.parts
    assert isinstance(part, ToolReturnPart)
    assert (part.tool_call_id, part.content) == ("call-1", answer)
    assert second.kinds[:2] == ["function_tool_call", "function_tool_result"]


def test_the_answer_joins_the_results_that_were_there_already() -> None:
    first = run(
        [
            asked("call-1", question="Go?"),
            ("count_words", '{"text": "a b"}', "call-2"),
            asked("call-3", question="Where?"),
        ]
    )
    assert first.tool_results()["call-2"].content == 2

    second = run("Deployed.", prompt=None, after=first, results={"call-1": {"status": "timeout"}})

    parts = [part for message in second.shown[0] for part in message.parts]
    results = [part.tool_call_id for part in parts if isinstance(part, ToolReturnPart)]
    assert sorted(results) == ["call-1", "call-2", "call-3"]
    assert len([part for part in parts if isinstance(part, UserPromptPart)]) == 1


def test_the_model_may_ask_again_after_an_answer() -> None:
    first = run([asked("call-1", question="Go?")])

    second = run(
        [asked("call-2", question="Sure?")], prompt=None, after=first, results={"call-1": {"status": "timeout"}}
    )

    assert [call.tool_call_id for call in second.deferred.calls] == ["call-2"]


def test_a_question_beside_the_final_output_is_not_asked() -> None:
    output = ToolOutput(final_answer, name="final_output")

    ran = run([asked("call-1", question="Go?"), ("final_output", '{"text": "Done."}', "call-2")], output=output)

    assert ran.result.output == "Done."
    assert set(ran.tool_results()) == {"call-1", "call-2"}
