"""Shapes of answers that occur on every wire."""

from __future__ import annotations

import json
from typing import Any

from tests.support.wires.frames import BEGINS, ENDS, TEXTS, answer
from tests.support.wires.shape import EMOJI, FIRST, LOST, SECOND, WIRES, Shape

HTML = b"<!DOCTYPE html>\n<html><body>Bad gateway</body></html>\n"


def shapes() -> list[Shape]:
    shapes: list[Shape] = []
    for wire in WIRES:
        begin, text, end = BEGINS[wire], TEXTS[wire], ENDS[wire]

        def add(name: str, body: bytes, wire: str = wire, tokens: tuple[int, int] = (7, 5), **expected: Any) -> None:
            shapes.append(Shape(name, wire, body, tokens=tokens, **expected))

        whole = answer(wire, "Hello ", "there")
        hello: dict[str, Any] = {"text": "Hello there"}
        add("nothing odd", whole, **hello)
        add("a byte order mark", b"\xef\xbb\xbf" + whole, **hello)
        add("comments and blank lines first", b": hi\n\n\n \n: ho\n" + whole, **hello)
        add("data without anything in it", begin + b"data:\n\ndata: \n\n" + text("Hello there") + end, **hello)
        add("no blank line behind the last event", whole.rstrip(b"\n"), **hello)
        add("lines end like Windows's", whole.replace(b"\n", b"\r\n"), **hello)
        if wire != "plugin":  # its protocol marks the end only by the end of the body
            add("the end is missing", begin + text("Hello ", "th"), fails="model_stream_incomplete")
        add("nothing", b"", fails="model_protocol_error")
        add("comments only", b": hi\n\n: ho\n\n", fails="model_protocol_error")
        add("HTML", HTML, fails="model_protocol_error")
        add("JSON", json.dumps({"error": {"message": "no"}}, indent=1).encode(), fails="model_protocol_error")
        add("null", b"data: null\n\n", fails="model_protocol_error")
        if wire != "plugin":
            add("JSON of another kind", b'data: {"hello": 1}\n\n', fails="model_protocol_error")
            add("signs of life of its own", b'data: {"alive": true}\n\n' + whole, **hello)
        add("no JSON in the middle", begin + text("He") + b"data: <html>\n\n", fails="model_protocol_error")
        add("a list for an event", begin + text("He") + b"data: [1]\n\n", fails="model_protocol_error")
        add("a character cut in two", answer(wire, "a " + FIRST, SECOND + " b"), text=f"a {EMOJI} b")
        add("half a character", answer(wire, "a " + FIRST, " b " + SECOND), text=f"a {LOST} b {LOST}")
        add("half a character last", answer(wire, "a " + FIRST), text=f"a {LOST}")
        add("thinking and text in one piece", answer(wire, "<think>why</think>so"), thinking="why", text="so")
        add("thinking cut anywhere", answer(wire, *"<think>why</think>so"), thinking="why", text="so")
        add(
            "thinking with half a character",
            answer(wire, f"<think>{FIRST}", f"{SECOND}{FIRST}</think>b"),
            thinking=EMOJI + LOST,
            text="b",
        )
        add("an end of thinking without a begin", answer(wire, "why</th", "ink>so"), thinking="why", text="so")
        add("thinking that never ends", answer(wire, "<think>wh", "y"), thinking="why")
        add("an end of thinking too many", answer(wire, "<think>why</think>so</think>"), thinking="why", text="so")
        add("no thinking", answer(wire, "1 <", " 2 <thi"), text="1 < 2 <thi")
        add("white space only", answer(wire, " \n"), text=" \n")
    return shapes
