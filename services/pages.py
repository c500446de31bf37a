"""Pages of lists, as every route answers them: ``data``, ``limit``, ``has_more``, and how to read on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import DeclarativeBase, Session

RowT = TypeVar("RowT")
SelectT = TypeVar("SelectT", bound=Select[Any])


class Told(Protocol):
    """What can be an item of a page."""

    def as_json(self) -> dict[str, Any]: ...


ItemT = TypeVar("ItemT", bound=Told | Mapping[str, Any])


@dataclass(frozen=True, slots=True)
class Page(Generic[ItemT]):
    """Some of a list. Whoever reads on names the last item that they have."""

    data: Sequence[ItemT]
    limit: int
    has_more: bool

    def as_json(self) -> dict[str, Any]:
        items = [item if isinstance(item, Mapping) else item.as_json() for item in self.data]
        return {"data": items, "limit": self.limit, "has_more": self.has_more}


@dataclass(frozen=True, slots=True)
class CursorPage(Page[ItemT]):
    """A page that says from where to read on."""

    next_cursor: str | None = None
    """Of the last item; None where there are no more."""

    @classmethod
    def of(cls, rows: Sequence[RowT], limit: int, told: Callable[[RowT], ItemT], cursor: Callable[[RowT], str]) -> Self:
        """A page of ``rows``, of which one more than ``limit`` was looked for."""
        has_more = len(rows) > limit
        return cls([told(row) for row in rows[:limit]], limit, has_more, cursor(rows[limit - 1]) if has_more else None)

    def as_json(self) -> dict[str, Any]:
        return {**Page.as_json(self), "next_cursor": self.next_cursor}


@dataclass(frozen=True, slots=True)
class NumberedPage(Page[ItemT]):
    """A page of a list whose items are counted."""

    page: int = 1
    total: int = 0

    @classmethod
    def of(cls, data: Sequence[ItemT], *, page: int, limit: int, total: int) -> Self:
        """The page of this number, from 1, of as many items as there are in ``total``."""
        return cls(data, limit, page * limit < total, page, total)

    def as_json(self) -> dict[str, Any]:
        return {**Page.as_json(self), "page": self.page, "total": self.total}


def counted(session: Session, table: type[DeclarativeBase], *where: ColumnElement[bool]) -> int:
    """How many rows of a table there are."""
    return session.scalar(select(func.count()).select_from(table).where(*where)) or 0


def window(wanted: SelectT, *, page: int, limit: int) -> SelectT:
    """The part of what is selected that is on a page of this number."""
    return wanted.offset((page - 1) * limit).limit(limit)
