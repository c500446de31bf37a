"""Writes to the person at the terminal."""

import shutil
import sys
from contextlib import suppress
from typing import TextIO


def say(text: str, end: str = "\n") -> None:
    """Prints at once. A terminal that is gone must not keep us from stopping what we started."""
    with suppress(OSError):
        print(text, end=end, flush=True)


class LiveText:
    """Shows text as it streams in: on a terminal with a line of progress below it, elsewhere unchanged.

    On a terminal two lines are redrawn, the one being filled and the progress; full lines stay above.
    """

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._is_terminal = out.isatty()
        self._width = max(20, shutil.get_terminal_size().columns - 1)
        self._line = ""
        self._drawn = False

    def add(self, text: str, progress: str) -> None:
        """Appends text (which may be empty) and replaces the progress."""
        if not self._is_terminal:
            self._write(text)
            return

        done, self._line = wrap(self._line + text, self._width)
        redraw = "\x1b[1A\r\x1b[J" if self._drawn else ""  # up a line, and clear from there
        dim, plain = "\x1b[2m", "\x1b[0m"
        lines = [*done, self._line, f"{dim}{progress[: self._width]}{plain}"]
        self._write(redraw + "\n".join(lines))
        self._drawn = True

    def finish(self, progress: str) -> None:
        """Ends the text, and leaves the progress below it."""
        if self._is_terminal:
            self.add("", progress)
            self._write("\n")
        else:
            self._write(f"\n{progress}\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def wrap(text: str, width: int) -> tuple[list[str], str]:
    """Splits text into full lines of at most ``width`` characters, broken at spaces, and the rest."""
    done: list[str] = []
    *lines, rest = text.split("\n")
    for line in lines:
        full, last = _wrap_line(line, width)
        done += [*full, last]
    full, rest = _wrap_line(rest, width)
    return done + full, rest


def _wrap_line(line: str, width: int) -> tuple[list[str], str]:
    full: list[str] = []
    while len(line) > width:
        space = line.rfind(" ", 0, width + 1)
        cut = space if space > 0 else width
        full.append(line[:cut])
        line = line[cut:].removeprefix(" ")
    return full, line
