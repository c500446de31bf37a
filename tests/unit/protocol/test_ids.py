"""Ids."""

from __future__ import annotations

import time
import uuid

import pytest

from runtime.protocol.ids import is_id, new_id


def test_a_new_id_is_a_uuid_of_version_7() -> None:
    parsed = uuid.UUID(new_id())

    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122


def test_a_new_id_begins_with_the_time_in_milliseconds() -> None:
    before = time.time_ns() // 1_000_000

    made = uuid.UUID(new_id()).int >> 80

    assert before <= made <= time.time_ns() // 1_000_000


def test_new_ids_are_all_different() -> None:
    ids = {new_id() for _ in range(10_000)}

    assert len(ids) == 10_000


def test_a_new_id_is_a_valid_id() -> None:
    assert is_id(new_id())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0",
        "01234567-89ab-7def-8123-456789ABCDEF",
        "{01234567-89ab-7def-8123-456789abcdef}",
        "urn:uuid:01234567-89ab-7def-8123-456789abcdef",
        "0123456789ab7def8123456789abcdef",
        "01234567-89ab-7def-8123-456789abcdef ",
        "01234567-89ab-7def-8123-456789abcdef\n",
        "01234567-89ab-7def-8123-456789abcde:",
        "0" * 100_000,
        "\u0660" * 32,
    ],
)
def test_other_texts_are_not_ids(text: str) -> None:
    assert not is_id(text)
