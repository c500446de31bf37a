"""Wall-clock time in the format of the wire."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """Returns the current time as ISO 8601 with microseconds and the zone ``Z``."""
    return wire_time(datetime.now(UTC))


def wire_time(moment: datetime) -> str:
    """Returns a time in UTC in the same format."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
