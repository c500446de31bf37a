"""The name of a conversation until somebody gives it one."""

from __future__ import annotations

DEFAULT_NAME = "New conversation"
MOST_CHARS = 60


def name_of(query: str) -> str:
    """Returns a name made from the first question: its beginning, on one line, cut between two words if possible."""
    words = "".join(character if character.isprintable() else " " for character in query).split()
    line = " ".join(words)
    if len(line) <= MOST_CHARS:
        return line or DEFAULT_NAME
    cut = line[: MOST_CHARS - 1]
    whole_words = cut.rpartition(" ")[0] if line[len(cut)] != " " else cut
    return f"{whole_words or cut}…"
