"""Lines of a body that arrives in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from runtime.llm.plugin_daemon.lines import LineBatches
from runtime.llm.wire.errors import WireError


class Pieces:
    """A body whose pieces arrive in these batches."""

    def __init__(self, *batches: Sequence[bytes]) -> None:
        self._batches = list(batches)

    async def take(self) -> list[bytes] | None:
        return list(self._batches.pop(0)) if self._batches else None


def batches(*arriving: Sequence[bytes], max_line_bytes: int = 100) -> list[list[bytes]]:
    async def collect() -> list[list[bytes]]:
        return [batch async for batch in LineBatches(Pieces(*arriving), max_line_bytes=max_line_bytes)]

    return asyncio.run(collect())


def test_what_arrives_together_is_one_batch() -> None:
    assert batches([b"a\nb\n", b"c\nd"], [b"e\n"]) == [[b"a", b"b", b"c"], [b"de"]]


def test_a_line_may_arrive_in_any_number_of_pieces() -> None:
    assert batches([b"a"], [b"b"], [b"", b"c"], [b"\n"]) == [[b"abc"]]


def test_what_follows_the_last_newline_is_a_line() -> None:
    assert batches([b"a\nb"]) == [[b"a"], [b"b"]]


def test_other_line_separators_do_not_end_a_line() -> None:
    text = "x\u0085y\u2028z\u2029\r\x0b".encode()

    assert batches([text + b"\n"]) == [[text]]


def test_an_empty_body_has_no_batches() -> None:
    assert batches() == []
    assert batches([b""]) == []


@pytest.mark.parametrize("arriving", [[[b"x" * 101]], [[b"x" * 60], [b"x" * 60]], [[b"x" * 101 + b"\n"]]])
def test_a_line_beyond_the_limit_is_refused_before_it_has_ended(arriving: list[list[bytes]]) -> None:
    with pytest.raises(WireError, match="longer than 100 bytes"):
        batches(*arriving)


def test_many_short_lines_may_be_longer_than_the_limit_together() -> None:
    assert batches([b"x" * 60 + b"\n" + b"y" * 60 + b"\n"]) == [[b"x" * 60, b"y" * 60]]
