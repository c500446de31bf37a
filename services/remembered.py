"""What a process remembers: so many things, and then the oldest makes way."""

from __future__ import annotations

from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class Remembered(Generic[KeyT, ValueT]):
    """Values by their keys, ``most`` at the most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[KeyT, ValueT] = {}

    def get(self, key: KeyT) -> ValueT | None:
        return self._known.get(key)

    def put(self, key: KeyT, value: ValueT) -> None:
        """Remember a value, as the newest."""
        self._known.pop(key, None)
        if len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
        self._known[key] = value

    def forget(self, key: KeyT) -> None:
        """It need not be known."""
        self._known.pop(key, None)

    def __len__(self) -> int:
        return len(self._known)

    def items(self) -> list[tuple[KeyT, ValueT]]:
        """All that is remembered, the oldest first."""
        return list(self._known.items())
