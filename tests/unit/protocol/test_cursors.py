"""Cursors as clients send them."""

from __future__ import annotations

import pytest

from runtime.protocol.cursors import BEGINNING, GREATEST, parse_cursor, position

GREATEST_PART = 2**64 - 1


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("0", "0-0"),
        ("0-0", BEGINNING),
        ("1-2", "1-2"),
        ("7", "7-0"),
        ("0007-0003", "7-3"),
        (f"{GREATEST_PART}", f"{GREATEST_PART}-0"),
        (f"{GREATEST_PART}-{GREATEST_PART}", GREATEST),
    ],
)
def test_a_cursor_is_brought_into_normal_form(given: str, normal: str) -> None:
    assert parse_cursor(given) == normal


@pytest.mark.parametrize(
    "given",
    [
        "",
        "-",
        "-1",
        "1-",
        "-1-1",
        "1-2-3",
        "1 - 2",
        " 1-1",
        "1-1\n",
        "+1",
        "1.5",
        "0x10",
        "abc",
        "$",
        "*",
        "(1-1",
        "\u0661-\u0661",
        "\u00b2",
        f"{GREATEST_PART + 1}",
        f"{GREATEST_PART + 1}-0",
        f"0-{GREATEST_PART + 1}",
        "9" * 5000,
    ],
)
def test_anything_else_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"digits|below 2\^64"):
        parse_cursor(given)


def test_positions_compare_in_stream_order() -> None:
    cursors = ["2-1", "10-0", "0-0", "1-10", "1-9", GREATEST, "1767225600000-0"]

    ordered = sorted(cursors, key=position)

    assert ordered == ["0-0", "1-9", "1-10", "2-1", "10-0", "1767225600000-0", GREATEST]


def test_a_cursor_without_a_sequence_is_at_the_start_of_its_milliseconds() -> None:
    assert position("5") == (5, 0)
