"""Pages of lists, as every route returns them: ``data``, ``limit``, ``has_more``, and how to read on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import DeclarativeBase, Session

RowT = TypeVar("RowT")
SelectT = TypeVar("SelectT", bound=Select[Any])


class Told(Protocol):
    """An item of a page."""

    def as_json(self) -> dict[str, Any]: ...


ItemT = TypeVar("ItemT", bound=Told | Mapping[str, Any])


@dataclass(frozen=True, slots=True)
class Page(Generic[ItemT]):
    """A part of a list. To read on, a client names the last item that it has."""

    data: Sequence[ItemT]
    limit: int
    has_more: bool

    def as_json(self) -> dict[str, Any]:
        items = [item if isinstance(item, Mapping) else item.as_json() for item in self.data]
        return {"data": items, "limit": self.limit, "has_more": self.has_more}


@dataclass(frozen=True, slots=True)
class CursorPage(Page[ItemT]):
    """A page that says where to read on."""

    next_cursor: str | None = None
    """The cursor of the last item; None when there are no more."""

    @classmethod
    def of(cls, rows: Sequence[RowT], limit: int, told: Callable[[RowT], ItemT], cursor: Callable[[RowT], str]) -> Self:
        """Returns the page for ``rows``, which were selected with one more than ``limit``."""
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
        """Returns page number ``page``, counted from 1, of a list with ``total`` items."""
        return cls(data, limit, page * limit < total, page, total)

    def as_json(self) -> dict[str, Any]:
        return {**Page.as_json(self), "page": self.page, "total": self.total}


def counted(session: Session, table: type[DeclarativeBase], *where: ColumnElement[bool]) -> int:
    """Returns the number of matching rows in a table."""
    return session.scalar(select(func.count()).select_from(table).where(*where)) or 0


def window(wanted: SelectT, *, page: int, limit: int) -> SelectT:
    """Limits a query to the page of this number."""
    return wanted.offset((page - 1) * limit).limit(limit)
