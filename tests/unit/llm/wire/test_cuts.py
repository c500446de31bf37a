"""Answers cut at every byte: by the network, which changes nothing, and by their server, which fails."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterable, Mapping

import pytest

from runtime.llm.providers.openai import generic_wire, openai_wire
from runtime.llm.wire.anthropic import AnthropicWire
from runtime.llm.wire.errors import IncompleteAnswer, WireError
from runtime.llm.wire.google import GoogleWire
from runtime.llm.wire.reader import AnswerReader, Wire
from runtime.llm.wire.responses import ResponsesWire
from tests.support.wires import SHAPES
from tests.support.wires.frames import answer, plugin_call
from tests.support.wires.reading import hear
from tests.support.wires.shape import WIRES, Shape

READERS: Mapping[str, Callable[[], Wire]] = {
    "openai": generic_wire,
    "openai-responses": ResponsesWire,
    "anthropic": AnthropicWire,
    "google": GoogleWire,
}
LONGEST = 1000
"""Longer bodies are cut at every byte by the shapes that are a part of them."""

_MADE_ID = re.compile(rb"(call|toolu|item)_[0-9a-f]{32}")


def clean(wire: str, *pieces: bytes) -> tuple[bytes, type[WireError] | None]:
    """What a provider's package gets to read, without the ids that are made up, and how it ends."""
    reader = AnswerReader(READERS[wire]())
    told: list[bytes] = []
    try:
        for piece in pieces:
            told.extend(reader.feed(piece))
        told.extend(reader.end())
    except WireError as error:
        return _MADE_ID.sub(rb"\1", b"".join(told)), IncompleteAnswer if isinstance(
            error, IncompleteAnswer
        ) else WireError
    return _MADE_ID.sub(rb"\1", b"".join(told)), None


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.wire in READERS], ids=str)
def test_a_body_means_the_same_cut_at_any_byte(shape: Shape) -> None:
    whole = clean(shape.wire, shape.body)
    bytes_apart = [shape.body[at : at + 1] for at in range(len(shape.body))]

    assert clean(shape.wire, *bytes_apart) == whole
    if len(shape.body) <= LONGEST:
        for cut in range(1, len(shape.body)):
            assert clean(shape.wire, shape.body[:cut], shape.body[cut:]) == whole, f"cut at byte {cut}"


@pytest.mark.parametrize("wire", READERS)
def test_a_body_that_ends_at_any_byte_is_incomplete_or_whole_and_never_half(wire: str) -> None:
    whole = answer(wire, "Hello ", "there \U0001f600")
    told, _ = clean(wire, whole)

    ends = {end: clean(wire, whole[:end]) for end in range(1, len(whole))}

    assert {error for _, error in ends.values()} >= {IncompleteAnswer, None}
    first_whole = next(end for end, (_, error) in ends.items() if error is None)
    for end, (text, error) in ends.items():
        assert told.startswith(text.removesuffix(b"data: [DONE]\n\n"))
        assert (error is None) == (end >= first_whole), f"ended at byte {end}"
        assert error is not WireError or b'"' not in whole[:end]  # nothing of an event was there yet


def test_only_a_compatible_server_may_leave_out_the_reason_to_finish() -> None:
    body = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\ndata: [DONE]\n\n'

    assert list(AnswerReader(generic_wire()).feed(body))
    with pytest.raises(IncompleteAnswer):
        list(AnswerReader(openai_wire()).feed(body))


THINKING = "a<think>why \U0001f600</think>so</think>"


def test_text_and_thinking_come_apart_for_every_cut_on_every_wire() -> None:
    async def every_cut() -> None:
        for wire in WIRES:
            for cut in range(len(THINKING)):
                heard = await hear(wire, [answer(wire, THINKING[:cut], THINKING[cut:])])

                assert (heard.reason, heard.thinking, heard.text) == (None, "why \U0001f600", "aso"), (wire, cut)

    asyncio.run(every_cut())


def test_half_a_call_of_a_plugin_is_incomplete_wherever_it_ends() -> None:
    body = b"".join(plugin_call(piece, name="get", call_id="a") for piece in ("", '{"a"', ':{"b"', ":1", "}"))

    async def every_end() -> None:
        for end in range(1, len(_frames(body))):
            assert (await hear("plugin", _frames(body)[:end])).reason == "model_stream_incomplete"

    asyncio.run(every_end())


@pytest.mark.parametrize("wire", WIRES)
def test_frames_that_are_lost_and_repeated_at_random_never_end_in_an_internal_error(wire: str) -> None:
    chance = random.Random(15)  # noqa: S311
    shapes = [shape for shape in SHAPES if shape.wire == wire and shape.fails is None]
    known = {None, "model_stream_incomplete", "model_protocol_error", "model_server_error"}

    async def many() -> None:
        for _ in range(60):
            shape = chance.choice(shapes)
            frames = list(_shaken(_frames(shape.body), chance))

            heard = await hear(wire, _cut(b"".join(frames), chance))

            assert heard.reason in known  # any other error is raised here
            if heard.reason is None:
                sent = b"".join(frames).decode("utf-8", "replace")
                assert all(name in sent for name, _ in heard.calls)
                assert heard.tokens in ((7, 5), (7, 1), (0, 0), (7, 0), (0, 5))

    asyncio.run(many())


def _frames(body: bytes) -> list[bytes]:
    return [frame for frame in re.split(rb"(?<=\n\n)", body) if frame]


def _shaken(frames: Iterable[bytes], chance: random.Random) -> Iterable[bytes]:
    for frame in frames:
        what = chance.random()
        if what > 0.1:
            yield frame
        if what > 0.85:
            yield frame


def _cut(body: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.sample(range(len(body) + 1), min(len(body), chance.randint(0, 8))))
    return [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
