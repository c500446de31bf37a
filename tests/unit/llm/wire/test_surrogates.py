"""Surrogate pairs that arrive in two pieces."""

from __future__ import annotations

import json

import pytest

from runtime.llm.wire.surrogates import SurrogateJoiner, mended, mended_json

FIRST, SECOND, EMOJI, LOST = "\ud83d", "\ude00", "\U0001f600", "\ufffd"


def join(*pieces: str, is_json: bool = False) -> str:
    joiner = SurrogateJoiner()
    told = [joiner.feed(0, piece, is_json=is_json) for piece in pieces]
    return "".join([*told, *joiner.rest().values()])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain \u00e9", "plain \u00e9"),
        (EMOJI, EMOJI),
        (FIRST + SECOND, EMOJI),
        (f"a{FIRST}b{SECOND}c", f"a{LOST}b{LOST}c"),
        (FIRST + FIRST + SECOND, LOST + EMOJI),
        (SECOND + FIRST, LOST + LOST),
        (FIRST, LOST),
    ],
)
def test_halves_are_joined_or_replaced_however_they_are_cut(text: str, expected: str) -> None:
    assert mended(text) == join(text) == join(*text) == expected
    for cut in range(len(text)):
        assert join(text[:cut], text[cut:]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'{"a":"\ud83d\ude00"}', EMOJI),
        (r'{"a":"\uD83D\uDE00 \u00e9 \n \\ \\ud83d"}', EMOJI + " \u00e9 \n \\ \\ud83d"),
        (r'{"a":"\ud83d"}', LOST),
        (r'{"a":"\ude00\ud83d!"}', LOST + LOST + "!"),
        (r'{"a":"\ud83d\u0041"}', LOST + "A"),
        (r'{"a":"\ud83d\ud83d\ude00"}', LOST + EMOJI),
        ('{"a":"' + FIRST + SECOND + FIRST + '"}', EMOJI + LOST),
        (r'{"a":"\\' + FIRST + r'\ud83d"}', "\\" + LOST + LOST),
    ],
)
def test_halves_in_arguments_are_mended_also_as_escapes(text: str, expected: str) -> None:
    assert json.loads(mended_json(text)) == {"a": expected}
    for cut in range(len(text)):
        assert json.loads(join(text[:cut], text[cut:], is_json=True)) == {"a": expected}
    assert json.loads(join(*text, is_json=True)) == {"a": expected}


@pytest.mark.parametrize("text", ['{"a":"\\', '{"a":"\\u00', '{"a":"\\uzzzz then more', "\\" * 7])
def test_text_that_is_not_json_is_passed_on_unchanged(text: str) -> None:
    assert join(text, is_json=True) == join(*text, is_json=True) == text


def test_only_an_unfinished_pair_is_held_back() -> None:
    joiner = SurrogateJoiner()

    assert joiner.feed("text", f"a{FIRST}") == "a"
    assert joiner.feed("call", r'{"a":"\u00e9\ud8', is_json=True) == r'{"a":"\u00e9'
    assert joiner.feed("text", "b") == f"{LOST}b"
    assert joiner.rest() == {"call": r"\ud8"}
