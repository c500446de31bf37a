"""Shapes of answers in Google's Gemini API."""

from __future__ import annotations

from typing import Any

from tests.support.wires import frames
from tests.support.wires.frames import ENDS
from tests.support.wires.shape import EMOJI, FIRST, LOST, SECOND, Shape


def shapes() -> list[Shape]:
    one = {"functionCall": {"name": "get", "args": {"a": 1}}}
    two = {"functionCall": {"name": "get", "args": {"a": 2}}}
    calls = (("get", '{"a":1}'), ("get", '{"a":2}'))
    end = ENDS["google"]

    def with_id(part: dict[str, Any], call_id: str) -> dict[str, Any]:
        return {"functionCall": {**part["functionCall"], "id": call_id}}

    def shape(name: str, body: bytes, **expected: Any) -> Shape:
        return Shape(name, "google", body, **expected)

    return [
        shape("two calls", frames.google(one, two) + end, calls=calls),
        shape("blank ids, or one id", frames.google(with_id(one, ""), with_id(two, "")) + end, calls=calls),
        shape(
            "one id for two calls",
            frames.google(with_id(one, "a")) + frames.google(with_id(two, "a")) + end,
            calls=calls,
        ),
        shape("a call told twice", frames.google(with_id(one, "a")) * 2 + end, calls=calls[:1]),
        shape(
            "arguments of null",
            frames.google({"functionCall": {"name": "get", "args": None}}) + end,
            calls=(("get", "{}"),),
        ),
        shape(
            "half a character in arguments",
            frames.google({"functionCall": {"name": "get", "args": {"a": FIRST}}}) + end,
            calls=(("get", '{"a":"' + LOST + '"}'),),
        ),
        shape(
            "a call without a name", frames.google({"functionCall": {"args": {}}}) + end, fails="model_protocol_error"
        ),
        shape("the end is missing behind a call", frames.google(one), fails="model_stream_incomplete"),
        shape(
            "thoughts with a character cut in two",
            frames.google_text("a" + FIRST, SECOND, thought=True) + frames.google_text("b") + end,
            thinking="a" + EMOJI,
            text="b",
        ),
        shape(
            "usage in every event, and counts of null",
            frames.google({"text": "Hel"}, usage=frames.GOOGLE_USAGE)
            + frames.google(
                {"text": "lo"}, finish="STOP", usage={"promptTokenCount": None, "candidatesTokenCount": None}
            ),
            text="Hello",
        ),
        shape(
            "fields of other forms",
            frames.google({"text": "Hel"}, modelVersion=None, candidatesTokenCount="x")
            + frames.google_text("lo")
            + end,
            text="Hello",
        ),
    ]
