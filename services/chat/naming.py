"""What a conversation is called before anybody gives it a name."""

from __future__ import annotations

DEFAULT_NAME = "New conversation"
MOST_CHARS = 60


def name_of(query: str) -> str:
    """A name made of the first question: how it begins, on one line, cut between two words where there are some."""
    words = "".join(character if character.isprintable() else " " for character in query).split()
    line = " ".join(words)
    if len(line) <= MOST_CHARS:
        return line or DEFAULT_NAME
    cut = line[: MOST_CHARS - 1]
    whole_words = cut.rpartition(" ")[0] if line[len(cut)] != " " else cut
    return f"{whole_words or cut}…"
