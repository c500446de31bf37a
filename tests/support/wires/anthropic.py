"""Shapes of answers in Anthropic's Messages API."""

from __future__ import annotations

from typing import Any

from tests.support.wires import frames
from tests.support.wires.frames import BEGINS, answer
from tests.support.wires.shape import EMOJI, FIRST, LOST, SECOND, Shape


def shapes() -> list[Shape]:
    begin, end, call = BEGINS["anthropic"], frames.anthropic_end("tool_use"), frames.anthropic_call
    one, two = ("get", '{"a":1}'), ("get", '{"a":2}')

    def shape(name: str, body: bytes, **expected: Any) -> Shape:
        return Shape(name, "anthropic", body, **expected)

    return [
        shape("two calls", begin + call('{"a"', ":1}") + call(two[1], call_id="b", index=1) + end, calls=(one, two)),
        shape(
            "one index for all blocks",
            begin + frames.anthropic_text("Hi") + call(one[1], stops=False) + call(two[1], call_id="b") + end,
            text="Hi",
            calls=(one, two),
        ),
        shape(
            "calls without ids, or with one id",
            begin + call(one[1], call_id="") + call(two[1], index=1) + call("{}", name="now", index=2) + end,
            calls=(one, two, ("now", "{}")),
        ),
        shape("the arguments in the block itself", begin + call(input={"a": 1}) + end, calls=(one,)),
        shape("the arguments twice", begin + call('{"a"', ":1}", input={"a": 1}) + end, calls=(one,)),
        shape(
            "no message_stop",
            begin + frames.anthropic_text("Hello") + end[: end.index(b"event: message_stop")],
            fails="model_stream_incomplete",
        ),
        shape("the end is missing inside a call", begin + call('{"a"', stops=False), fails="model_stream_incomplete"),
        shape(
            "the end is missing behind the name of a call", begin + call(stops=False), fails="model_stream_incomplete"
        ),
        shape("the limit inside a call", begin + call() + frames.anthropic_end("max_tokens"), calls=(("get", "{"),)),
        shape(
            "thinking without a signature",
            begin + frames.anthropic_thinking("why") + frames.anthropic_text("so", index=1) + frames.anthropic_end(),
            thinking="why",
            text="so",
        ),
        shape(
            "a delta without its block",
            begin
            + frames.anthropic("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"})
            + frames.anthropic_end(),
            text="Hello",
        ),
        shape(
            "arguments without their block",
            begin
            + frames.anthropic("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": "{}"})
            + end,
            fails="model_protocol_error",
        ),
        shape(
            "usage of null",
            frames.anthropic("message_start", message={"id": None, "model": None, "usage": None})
            + frames.anthropic_text("Hello")
            + frames.anthropic("message_delta", delta={"stop_reason": "end_turn"}, usage=None)
            + frames.anthropic("message_stop"),
            text="Hello",
            tokens=(0, 0),
        ),
        shape(
            "usage in every event",
            begin
            + frames.anthropic_text("Hello")
            + frames.anthropic("message_delta", delta={}, usage={"input_tokens": 7, "output_tokens": 5})
            + frames.anthropic_end(),
            text="Hello",
        ),
        shape(
            "a character cut in two in arguments",
            begin + call('{"a":"' + FIRST, SECOND + '"}') + end,
            calls=(("get", '{"a":"' + EMOJI + '"}'),),
        ),
        shape(
            "half a character at the end of arguments",
            begin + call('{"a":1}' + FIRST) + end,
            calls=(("get", '{"a":1}' + LOST),),
        ),
        shape(
            "events without names",
            (begin + frames.anthropic_text("Hello") + frames.anthropic_end()).replace(b"event: ", b": "),
            text="Hello",
        ),
        shape(
            "events that nobody knows",
            begin
            + frames.anthropic("ping")
            + frames.anthropic("made_up")
            + frames.anthropic_text("Hello")
            + frames.anthropic_end(),
            text="Hello",
        ),
        shape("the whole twice", answer("anthropic", "Hello") * 2, text="Hello"),
        shape(
            "half a character as an escape in arguments",
            begin + call('{"a":"\\ud8', '3d"}') + end,
            calls=(("get", '{"a":"\\ufffd"}'),),
        ),
    ]
