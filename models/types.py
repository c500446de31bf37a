"""Column types that return the same values on every database."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, TypeVar

from sqlalchemy import JSON, CheckConstraint, DateTime, String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

EnumT = TypeVar("EnumT", bound=StrEnum)

ENUM_LENGTH = 32

JSON_VALUE = JSON(none_as_null=True)
"""An object or a list, as JSON. None is the null of the database, and not JSON's ``null``."""


class UtcDateTime(TypeDecorator[datetime]):
    """A time: with a time zone in code, and in UTC without one in the database.

    A time without a zone raises ValueError.
    """

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone may mean anything")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class EnumText(TypeDecorator[EnumT], Generic[EnumT]):
    """A member of an enum, stored as its text. Any other text raises ValueError."""

    impl = String
    cache_ok = True

    def __init__(self, members: type[EnumT], length: int = ENUM_LENGTH) -> None:
        self.members = members
        super().__init__(length)

    def process_bind_param(self, value: EnumT | None, dialect: Dialect) -> str | None:
        return None if value is None else self.members(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> EnumT | None:
        return None if value is None else self.members(value)


def is_member(column: str, members: type[StrEnum], *, name: str) -> CheckConstraint:
    """Returns the database's own check that a column contains one of an enum's texts."""
    listed = ", ".join(f"'{member.value}'" for member in members)
    return CheckConstraint(f"{column} IN ({listed})", name=name)
