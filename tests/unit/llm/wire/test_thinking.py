"""Think tags in a text that arrives in pieces."""

from __future__ import annotations

import pytest

from runtime.llm.wire.thinking import Segment, ThinkTagParser

TURN = Segment("", True, turns_thinking=True)
"""Says that what came before was thinking."""


def parse(*pieces: str) -> list[Segment]:
    """The segments, with neighbours of one kind joined."""
    parser = ThinkTagParser()
    found = [segment for piece in pieces for segment in parser.feed(piece)] + parser.flush()
    joined: list[Segment] = []
    for segment in found:
        if joined and TURN not in (joined[-1], segment) and joined[-1].is_thinking == segment.is_thinking:
            joined[-1] = Segment(joined[-1].text + segment.text, segment.is_thinking)
        else:
            joined.append(segment)
    return joined


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", [Segment("plain", False)]),
        ("", []),
        ("<think>a</think>b", [Segment("a", True), Segment("b", False)]),
        ("x<think>a</think>b", [Segment("x", False), Segment("a", True), Segment("b", False)]),
        ("<think>never closed", [Segment("never closed", True)]),
        ("<think></think>b", [Segment("b", False)]),
        ("<think>a<think>b</think>c", [Segment("a<think>b", True), Segment("c", False)]),
        ("a</think>b", [Segment("a", False), TURN, Segment("b", False)]),
        ("</think>b", [TURN, Segment("b", False)]),
        ("<think>a</think>b</think>c", [Segment("a", True), Segment("bc", False)]),
        ("a</think>b</think>c", [Segment("a", False), TURN, Segment("bc", False)]),
        ("1 < 2 and <thinking>", [Segment("1 < 2 and <thinking>", False)]),
        ("ends with <thi", [Segment("ends with <thi", False)]),
        ("<think>ends with </thi", [Segment("ends with </thi", True)]),
        ("<<think>a<</think>", [Segment("<", False), Segment("a<", True)]),
    ],
)
def test_text_means_the_same_however_it_is_cut(text: str, expected: list[Segment]) -> None:
    assert parse(text) == expected
    assert parse(*text) == expected
    for cut in range(1, len(text)):
        assert parse(text[:cut], text[cut:]) == expected


def test_only_what_may_be_a_tag_is_held_back() -> None:
    parser = ThinkTagParser()

    assert parser.feed("a <") == [Segment("a ", False)]
    assert parser.feed(" b") == [Segment("< b", False)]
    assert parser.feed("c<thi") == [Segment("c", False)]
    assert parser.feed("nk>d") == [Segment("d", True)]
