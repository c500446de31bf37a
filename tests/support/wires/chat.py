"""Shapes of answers in Chat Completions."""

from __future__ import annotations

from typing import Any

from tests.support.wires import frames
from tests.support.wires.frames import BEGINS, CHAT_USAGE, DONE, ENDS, answer
from tests.support.wires.shape import EMOJI, FIRST, LOST, SECOND, Shape


def shapes() -> list[Shape]:
    begin, end = BEGINS["openai"], frames.chat(finish="tool_calls", usage=CHAT_USAGE) + DONE
    one, two = ("get", '{"a":1}'), ("get", '{"a":2}')
    call = frames.chat_call

    def shape(name: str, body: bytes, **expected: Any) -> Shape:
        return Shape(name, "openai", body, **expected)

    return [
        shape(
            "parallel calls that all say index 0 (Ollama)",
            begin + call(one[1], name="get", call_id="a") + call(two[1], name="get", call_id="b") + end,
            calls=(one, two),
        ),
        shape(
            "parallel calls without an index",
            begin
            + call(one[1], name="get", call_id="a", index=None)
            + call(two[1], name="get", call_id="b", index=None)
            + end,
            calls=(one, two),
        ),
        shape(
            "a name in each fragment",
            begin
            + call('{"a"', name="get", call_id="a")
            + call(":1", name="get", call_id="a")
            + call("}", name="get", call_id="a")
            + end,
            calls=(one,),
        ),
        shape(
            "a name in each fragment, and no id",
            begin + call("", name="get") + call('{"a"', name="get") + call(":1}", name="get") + end,
            calls=(one,),
        ),
        shape(
            "blank ids",
            begin
            + call('{"a"', name="get", call_id="")
            + call(":1}", call_id="")
            + call(two[1], name="get", call_id="", index=1)
            + end,
            calls=(one, two),
        ),
        shape(
            "one id for two calls",
            begin + call(one[1], name="get", call_id="a") + call(two[1], name="get", call_id="a", index=1) + end,
            calls=(one, two),
        ),
        shape(
            "a fresh id for each fragment",
            begin + call('{"a"', name="get", call_id="a") + call(":1}", call_id="b") + end,
            calls=(one,),
        ),
        shape(
            "calls in turns, told apart by their index",
            begin
            + call('{"a"', name="get", call_id="a", index=0)
            + call('{"a"', name="get", call_id="b", index=1)
            + call(":1}", index=0)
            + call(":2}", index=1)
            + end,
            calls=(one, two),
        ),
        shape("a call told twice", begin + call(one[1], name="get", call_id="a") * 2 + end, calls=(one,)),
        shape(
            "arguments as an object",
            begin
            + frames.chat({"tool_calls": [{"id": "a", "function": {"name": "get", "arguments": {"a": 1}}}]})
            + end,
            calls=(one,),
        ),
        shape(
            "arguments of null",
            begin + frames.chat({"tool_calls": [{"id": "a", "function": {"name": "get", "arguments": None}}]}) + end,
            calls=(("get", ""),),
        ),
        shape(
            "a character cut in two in arguments",
            begin + call('{"a":"' + FIRST, name="get", call_id="a") + call(SECOND + '"}') + end,
            calls=(("get", '{"a":"' + EMOJI + '"}'),),
        ),
        shape(
            "half a character in arguments",
            begin + call('{"a":"' + FIRST + '"}', name="get", call_id="a") + end,
            calls=(("get", '{"a":"' + LOST + '"}'),),
        ),
        shape("a fragment of no call", begin + call('{"a"') + end, fails="model_protocol_error"),
        shape("a call without a name", begin + call("{}", call_id="a") + end, fails="model_protocol_error"),
        shape(
            "the end is missing inside a call",
            begin + call('{"a"', name="get", call_id="a"),
            fails="model_stream_incomplete",
        ),
        shape(
            "the end is missing behind the name of a call",
            begin + call("", name="get", call_id="a"),
            fails="model_stream_incomplete",
        ),
        shape(
            "the limit inside a call",
            begin + call("", name="get", call_id="a") + frames.chat(finish="length") + DONE,
            calls=(("get", "{"),),
            tokens=(0, 0),
        ),
        shape(
            "no reason to finish, and [DONE] (compatible servers)",
            begin + frames.chat_text("Hello") + DONE,
            text="Hello",
            tokens=(0, 0),
        ),
        shape("only [DONE]", DONE, fails="model_protocol_error"),
        shape(
            "no [DONE]", begin + frames.chat_text("Hello") + frames.chat(finish="stop", usage=CHAT_USAGE), text="Hello"
        ),
        shape(
            "the reason error",
            begin + frames.chat_text("He") + frames.chat(finish="error") + DONE,
            fails="model_server_error",
        ),
        shape(
            "a blank reason in each event", frames.chat({"content": "Hello"}, finish="") + ENDS["openai"], text="Hello"
        ),
        shape(
            "a blank reason, and no end",
            frames.chat({"content": "Hel"}, finish="") * 2,
            fails="model_stream_incomplete",
        ),
        shape(
            "usage in every event",
            frames.chat({"content": "He"}, usage={**CHAT_USAGE, "completion_tokens": 1})
            + frames.chat({"content": "llo"}, usage=CHAT_USAGE)
            + frames.chat(finish="stop", usage=CHAT_USAGE)
            + DONE,
            text="Hello",
        ),
        shape(
            "usage told twice",
            frames.chat_text("Hello")
            + frames.chat(finish="stop", usage=CHAT_USAGE)
            + frames.frame({"choices": [], "usage": CHAT_USAGE})
            + DONE,
            text="Hello",
        ),
        shape(
            "counts of null",
            frames.chat_text("Hello")
            + frames.chat(finish="stop", usage=CHAT_USAGE)
            + frames.frame({"choices": [], "usage": {"prompt_tokens": None, "completion_tokens": None}})
            + DONE,
            text="Hello",
        ),
        shape(
            "content as a list of parts",
            frames.chat({"content": [{"type": "text", "text": "Hello"}]}) + ENDS["openai"],
            text="Hello",
        ),
        shape(
            "null for everything",
            frames.frame({"id": None, "created": None, "model": None, "choices": None, "usage": {}})
            + frames.frame({"choices": [{"index": 0, "delta": None, "finish_reason": None, "logprobs": None}]})
            + answer("openai", "Hello"),
            text="Hello",
        ),
        shape(
            "reasoning with a character cut in two",
            frames.chat({"reasoning_content": "a" + FIRST})
            + frames.chat({"reasoning_content": SECOND})
            + frames.chat_text("b")
            + ENDS["openai"],
            thinking="a" + EMOJI,
            text="b",
        ),
        shape(
            "lines of data without blank lines between",
            (begin + frames.chat_text("Hel", "lo") + ENDS["openai"])
            .replace(b"\n\n", b"\n")
            .replace(b"data: [DONE]", b"\ndata: [DONE]\n"),
            text="Hello",
        ),
        shape(
            "half a character as an escape in arguments",
            begin + call('{"a":"\\ud8', name="get", call_id="a") + call('3d"}') + end,
            calls=(("get", '{"a":"\\ufffd"}'),),
        ),
    ]
