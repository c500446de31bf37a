"""Text that streams into a terminal."""

import io

import pytest

from dev.terminal import LiveText, wrap


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "lines", "rest"),
    [
        ("", [], ""),
        ("short", [], "short"),
        ("exactly ten", ["exactly"], "ten"),
        ("one\ntwo", ["one"], "two"),
        ("ends\n", ["ends"], ""),
        ("0123456789", [], "0123456789"),
        ("0123456789abcdef", ["0123456789"], "abcdef"),
        ("two words of text", ["two words"], "of text"),
    ],
)
def test_text_is_broken_at_spaces_and_keeps_every_word(text: str, lines: list[str], rest: str) -> None:
    assert wrap(text, 10) == (lines, rest)


def test_text_that_is_piped_has_no_control_codes() -> None:
    out = io.StringIO()
    live = LiveText(out)

    live.add("one ", "1 event")
    live.add("two", "2 events")
    live.finish("2 events in all")

    assert out.getvalue() == "one two\n2 events in all\n"


def test_a_terminal_shows_the_text_with_the_newest_progress_below_it() -> None:
    out = Terminal()
    live = LiveText(out)

    live.add("one ", "1 event")
    live.add("two", "2 events")
    live.finish("2 events in all")

    last_frame = out.getvalue().split("\x1b[1A\r\x1b[J")[-1]
    assert last_frame == "one two\n\x1b[2m2 events in all\x1b[0m\n"
