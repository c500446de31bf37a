"""Real runs of Pydantic AI with a scripted model, and their events as the server stores them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai import Agent, CallDeferred, RunContext, Tool, ToolOutput
from pydantic_ai.exceptions import ModelRetry, RunCancelled
from pydantic_ai.messages import AgentStreamEvent, ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_ai.tools import DeferredToolRequests

from runtime.events.entries import StreamEntry
from runtime.protocol.dialects import Dialect
from runtime.protocol.events import Event, EventEncoder, EventType, RunEnd
from runtime.protocol.ids import new_id

HANGS_SECONDS = 20.0
QUERY = "What is it?"
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, "total_price": "0.000017", "latency": 0.25}
QUESTION = {"question": "Go?", "markdown": "*Really?*"}


@dataclass(frozen=True)
class Text:
    pieces: tuple[str, ...]


@dataclass(frozen=True)
class Thinking:
    pieces: tuple[str, ...]
    signature: str | None = None


@dataclass(frozen=True)
class Call:
    """``lookup`` answers with its argument ``answer``; ``refuse`` has the model try again; ``wait`` never answers."""

    name: str
    arguments: str
    call_id: str
    pieces: int = 1


Response = Sequence[Text | Thinking | Call]


@dataclass
class ScriptedRun:
    """What a run left behind. Without an output it was cancelled, and the messages are what Pydantic AI kept."""

    events: list[Event] = field(default_factory=list)
    messages: list[ModelMessage] = field(default_factory=list)
    run_id: str = field(default_factory=new_id)

    @property
    def data(self) -> list[dict[str, Any]]:
        """The data of its agent events."""
        agent_events = [event for event in self.events if event.type is EventType.PYDANTIC_AI_EVENT]
        return [json.loads(event.payload)["data"] for event in agent_events]

    @property
    def entries(self) -> list[StreamEntry]:
        return as_entries(self.events)


def as_entries(events: Sequence[Event]) -> list[StreamEntry]:
    """Events as readers of a stream get them."""
    return [StreamEntry(b"1-%d" % number, event.type.encode(), event.payload) for number, event in enumerate(events, 1)]


def run_script(*responses: Response, structured: bool = False, cancel_after: int | None = None) -> ScriptedRun:
    """Run a model that answers so. It is cancelled when it has written that many agent events."""
    return asyncio.run(asyncio.wait_for(_run(responses, structured, cancel_after), HANGS_SECONDS))


async def _run(responses: Sequence[Response], structured: bool, cancel_after: int | None) -> ScriptedRun:
    run = ScriptedRun()
    encoder = EventEncoder(run.run_id, Dialect.CURRENT)
    written = 0

    async def write(_: RunContext[object], events: AsyncIterable[AgentStreamEvent]) -> None:
        nonlocal written
        async for event in events:
            encoded = encoder.agent_event(event)
            assert encoded is not None
            run.events.append(encoded)
            written += 1
            if written == cancel_after:
                task.cancel()
                await asyncio.sleep(0)

    run.events.append(encoder.started())
    answer = ToolOutput(_accept, name="final_output", max_retries=5)
    agent = Agent(
        FunctionModel(stream_function=_model(list(responses))),
        output_type=[answer, DeferredToolRequests] if structured else [str, DeferredToolRequests],
        retries={"output": 9, "tools": 9},
        tools=[
            Tool(_lookup, name="lookup", takes_ctx=False, max_retries=9),
            Tool(_refuse, name="refuse", takes_ctx=False, max_retries=9),
            Tool(_wait, name="wait", takes_ctx=False),
            Tool(_ask, name="ask_human", takes_ctx=False),
        ],
    )
    task = asyncio.ensure_future(agent.run(QUERY, event_stream_handler=write))
    try:
        result = await task
    except asyncio.CancelledError as error:
        cancelled = RunCancelled.from_cancellation(error)
        assert cancelled is not None
        run.messages = list(cancelled.all_messages())
        run.events.append(encoder.ended(RunEnd.cancelled()))
        return run
    run.messages = list(result.new_messages())
    if isinstance(result.output, DeferredToolRequests):
        (call,) = result.output.calls
        data = {"tool_call_id": call.tool_call_id, "tool_name": call.tool_name, "args": call.args_as_dict()}
        run.events.append(encoder.ended(RunEnd.deferred(call=data, snapshot={}, usage=USAGE)))
    else:
        run.events.append(encoder.ended(RunEnd.succeeded(output=result.output, snapshot={}, usage=USAGE)))
    return run


def _model(responses: list[Response]) -> Any:
    async def stream(_: list[ModelMessage], __: AgentInfo) -> AsyncIterator[Any]:
        for index, part in enumerate(responses.pop(0)):
            match part:
                case Text(pieces):
                    for piece in pieces:
                        yield piece
                case Thinking(pieces, signature):
                    for piece in pieces:
                        yield {index: DeltaThinkingPart(content=piece)}
                    if signature is not None:
                        yield {index: DeltaThinkingPart(signature=signature)}
                case Call(name, arguments, call_id, pieces):
                    size = max(1, -(-len(arguments) // pieces))
                    cuts = [arguments[start : start + size] for start in range(0, len(arguments), size)] or [""]
                    yield {index: DeltaToolCall(name=name, json_args=cuts[0], tool_call_id=call_id)}
                    for cut in cuts[1:]:
                        yield {index: DeltaToolCall(json_args=cut)}

    return stream


async def _lookup(answer: Any = None) -> Any:
    return answer


async def _refuse() -> str:
    raise ModelRetry("Not so.")


async def _wait() -> str:
    await asyncio.get_running_loop().create_future()
    return "never"


async def _ask(question: str, markdown: str | None = None) -> str:
    raise CallDeferred


def _accept(valid: bool) -> dict[str, bool]:
    if not valid:
        raise ModelRetry("Not valid.")
    return {"valid": valid}
