"""Where dev/try-provider takes the API key from."""

import getpass
import os

import pytest

from dev import try_provider


class Terminal:
    def __init__(self, *, is_there: bool) -> None:
        self._is_there = is_there

    def isatty(self) -> bool:
        return self._is_there


@pytest.mark.parametrize(
    ("variable", "at_a_terminal", "key"),
    [("sk-1", True, "sk-1"), (" sk-1\n", False, "sk-1"), ("", True, ""), (None, True, "sk-typed"), (None, False, "")],
)
def test_the_key_is_in_the_environment_or_asked_for(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, at_a_terminal: bool, key: str
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(is_there=at_a_terminal))
    monkeypatch.setattr(getpass, "getpass", lambda _: "sk-typed")
    monkeypatch.delenv(try_provider.KEY_VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(try_provider.KEY_VARIABLE, variable)

    assert try_provider._api_key() == key

    assert try_provider.KEY_VARIABLE not in os.environ, "no process that is started inherits it"
