"""Pages of lists that are read on from a cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

RowT = TypeVar("RowT")


class _Told(Protocol):
    @property
    def body(self) -> dict[str, Any]: ...


ToldT = TypeVar("ToldT", bound=_Told)


@dataclass(frozen=True, slots=True)
class CursorPage(Generic[ToldT]):
    """Some of a list, and the cursor behind them where there are more."""

    data: list[ToldT]
    limit: int
    next_cursor: str | None

    @classmethod
    def of(cls, rows: Sequence[RowT], limit: int, told: Callable[[RowT], ToldT], cursor: Callable[[RowT], str]) -> Self:
        """A page of ``rows``, of which one more than ``limit`` was looked for."""
        has_more = len(rows) > limit
        rows = rows[:limit]
        return cls([told(row) for row in rows], limit, cursor(rows[-1]) if has_more else None)

    def as_json(self) -> dict[str, Any]:
        return {
            "data": [item.body for item in self.data],
            "limit": self.limit,
            "has_more": self.next_cursor is not None,
            "next_cursor": self.next_cursor,
        }
