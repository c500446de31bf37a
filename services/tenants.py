"""Tenants. They are managed elsewhere; here they are only ids."""

from __future__ import annotations

import re

DEFAULT_TENANT = "default"
"""The tenant of an operator who names none."""

TENANT_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}")
"""The allowed form of the id of a tenant, or of one of its users."""
TENANT_RULE = "takes 1 to 64 of A-Z a-z 0-9 . _ : @ - and begins with a letter or a digit"
