"""Every odd shape of an answer, on every wire, by the real models."""

from __future__ import annotations

import pytest

from tests.support.wires import SHAPES
from tests.support.wires.reading import read
from tests.support.wires.shape import Shape


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_answer_of_any_shape_means_what_it_says_or_fails_with_its_reason(shape: Shape) -> None:
    heard = read(shape.wire, shape.body)

    assert heard.reason == shape.fails
    if shape.fails is None:
        assert (heard.text, heard.thinking, heard.calls) == (shape.text, shape.thinking, shape.calls)
        assert heard.tokens == shape.tokens
        assert [type(part) for part in heard.streamed.values()] == [type(part) for part in heard.parts]
