"""The audit trail: who has changed what lets callers in, or what runs pay with. Each change is one line of the log."""

from __future__ import annotations

import logging

logger = logging.getLogger("audit")

NOBODY_NAMED = "operator"
"""Who changes something without a key and without naming a user: he at the command line as well."""


def audit(action: str, *, tenant_id: str, actor: str | None, **what: object) -> None:
    """Tell a change that is stored. ``what`` are ids and marks, none of them with spaces or secret."""
    told = "".join(f" {name}={value}" for name, value in what.items())
    logger.info("%s tenant=%s by=%s%s", action, tenant_id, actor or NOBODY_NAMED, told)
