"""Shapes of answers in OpenAI's Responses API."""

from __future__ import annotations

from typing import Any

from tests.support.wires import frames
from tests.support.wires.frames import BEGINS, ENDS
from tests.support.wires.shape import EMOJI, FIRST, SECOND, Shape


def shapes() -> list[Shape]:
    begin, end, call = BEGINS["openai-responses"], ENDS["openai-responses"], frames.responses_call
    one, two = ("get", '{"a":1}'), ("get", '{"a":2}')

    def shape(name: str, body: bytes, **expected: Any) -> Shape:
        return Shape(name, "openai-responses", body, **expected)

    return [
        shape(
            "two calls",
            begin + call('{"a"', ":1}") + call(two[1], item_id="f2", call_id="b", index=1) + end,
            calls=(one, two),
        ),
        shape(
            "one id and one index for two calls",
            begin + call(one[1], call_id="a") + call(two[1], call_id="b") + end,
            calls=(one, two),
        ),
        shape(
            "calls without ids",
            begin + call(one[1], item_id=None, call_id=None) + call(two[1], item_id=None, call_id="", index=1) + end,
            calls=(one, two),
        ),
        shape(
            "a call only when it is done",
            begin
            + frames.responses(
                "output_item.done",
                output_index=0,
                item={"type": "function_call", "id": "f1", "call_id": "a", "name": "get", "arguments": one[1]},
            )
            + end,
            calls=(one,),
        ),
        shape(
            "the end is missing inside a call",
            begin + call('{"a"', ":1}")[: call('{"a"', ":1}").index(b"event: response.function_call_arguments.done")],
            fails="model_stream_incomplete",
        ),
        shape(
            "the limit",
            begin
            + frames.responses_text("Hel")
            + frames.responses(
                "incomplete",
                response=frames.response(
                    "incomplete", frames.RESPONSES_USAGE, incomplete_details={"reason": "max_output_tokens"}
                ),
            ),
            text="Hel",
        ),
        shape(
            "failed without an error",
            begin + frames.responses("failed", response=frames.response("failed")),
            fails="model_server_error",
        ),
        shape(
            "usage in every event",
            frames.responses("created", response=frames.response("in_progress", frames.RESPONSES_USAGE))
            + frames.responses("in_progress", response=frames.response("in_progress", frames.RESPONSES_USAGE))
            + frames.responses_text("Hello")
            + end
            + end,
            text="Hello",
        ),
        shape(
            "counts of null",
            frames.responses("created", response=frames.response("in_progress", frames.RESPONSES_USAGE))
            + frames.responses_text("Hello")
            + frames.responses(
                "completed", response=frames.response("completed", {"input_tokens": None, "output_tokens": None})
            ),
            text="Hello",
        ),
        shape(
            "a character cut in two in arguments",
            begin + call('{"a":"' + FIRST, SECOND + '"}') + end,
            calls=(("get", '{"a":"' + EMOJI + '"}'),),
        ),
        shape(
            "events without names",
            begin.replace(b"event: response.created\n", b"")
            + frames.responses_text("Hello").replace(b"event: ", b": ")
            + end,
            text="Hello",
        ),
        shape(
            "events that nobody knows",
            begin + frames.responses("made.up", delta="x") + frames.responses_text("Hello") + end,
            text="Hello",
        ),
        shape(
            "fields that are missing",
            frames.responses("created")
            + frames.responses("output_text.delta", delta="Hello")
            + frames.responses("completed"),
            text="Hello",
            tokens=(0, 0),
        ),
        shape(
            "half a character as an escape in arguments",
            begin + call('{"a":"\\ud8', '3d"}') + end,
            calls=(("get", '{"a":"\\ufffd"}'),),
        ),
    ]
