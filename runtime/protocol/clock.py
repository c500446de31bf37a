"""Wall-clock time as the wire writes it."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """Now, as ISO 8601 with microseconds and the zone ``Z``."""
    return wire_time(datetime.now(UTC))


def wire_time(moment: datetime) -> str:
    """A time in UTC, in the same form."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
