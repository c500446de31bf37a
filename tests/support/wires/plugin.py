"""Shapes of answers of the plugin daemon."""

from __future__ import annotations

from typing import Any

from tests.support.wires import frames
from tests.support.wires.frames import CHAT_USAGE, ENDS
from tests.support.wires.shape import EMOJI, FIRST, LOST, SECOND, Shape


def shapes() -> list[Shape]:
    one, two = ("get", '{"a":1}'), ("get", '{"a":2}')
    call, end = frames.plugin_call, ENDS["plugin"]

    def shape(name: str, body: bytes, **expected: Any) -> Shape:
        return Shape(name, "plugin", body, **expected)

    return [
        shape(
            "two calls",
            call('{"a"', name="get", call_id="a") + call(":1}") + call(two[1], name="get", call_id="b") + end,
            calls=(one, two),
        ),
        shape(
            "a name in each fragment, and no id",
            call('{"a"', name="get") + call(":1", name="get") + call("}", name="get") + end,
            calls=(one,),
        ),
        shape(
            "a character cut in two in arguments",
            call('{"a":"' + FIRST, name="get", call_id="a") + call(SECOND + '"}', call_id="a") + end,
            calls=(("get", '{"a":"' + EMOJI + '"}'),),
        ),
        shape(
            "half a character at the end of arguments",
            call('{"a":1}' + FIRST, name="get", call_id="a") + end,
            calls=(("get", '{"a":1}' + LOST),),
        ),
        shape("no reason to finish, and no usage", frames.plugin("Hello"), text="Hello", tokens=(0, 0)),
        shape("no end, and a whole call", call(one[1], name="get", call_id="a"), calls=(one,), tokens=(0, 0)),
        shape(
            "the end is missing behind the name of a call",
            call(name="get", call_id="a"),
            fails="model_stream_incomplete",
        ),
        shape(
            "the end is missing inside a call", call('{"a"', name="get", call_id="a"), fails="model_stream_incomplete"
        ),
        shape(
            "the limit inside a call",
            call(name="get", call_id="a") + frames.plugin(finish="length", usage=CHAT_USAGE),
            calls=(("get", "{"),),
        ),
        shape(
            "no reason to finish, but usage last",
            frames.plugin("Hello") + frames.plugin(usage=CHAT_USAGE),
            text="Hello",
        ),
        shape("the reason error", frames.plugin("He") + frames.plugin(finish="error"), fails="model_server_error"),
        shape(
            "a reason that nobody knows",
            frames.plugin("Hello") + frames.plugin(finish="eos", usage=CHAT_USAGE),
            text="Hello",
        ),
        shape(
            "usage in every event",
            frames.plugin("Hel", usage=CHAT_USAGE) + frames.plugin("lo", usage=CHAT_USAGE) + end,
            text="Hello",
        ),
        shape(
            "counts of null",
            frames.plugin("Hello") + frames.plugin(finish="stop", usage={**CHAT_USAGE, "prompt_unit_price": None}),
            text="Hello",
        ),
        shape(
            "half a character as an escape in arguments",
            call('{"a":"\\ud8', name="get", call_id="a") + call('3d"}') + end,
            calls=(("get", '{"a":"\\ufffd"}'),),
        ),
    ]
