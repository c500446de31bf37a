"""New runs of a tenant: how many it may start in a minute, on all workers together."""

from __future__ import annotations

from errors import RateLimited, TenantLimitReached
from services.rate_limiter import RateLimiter, TakeToken

SECONDS = 60


class NewRunLimit:
    """Lets each tenant start ``most`` runs at once, and as many a minute in the long run; 0 is no limit."""

    def __init__(self, most: int, *, take_token: TakeToken | None = None) -> None:
        self._most = most
        self._limiter = RateLimiter(rate=most / SECONDS, burst=most, take_token=take_token)

    def take(self, tenant_id: str | None) -> None:
        """Counts one new run, unless it is without a tenant. Raises TenantLimitReached when there is none left."""
        if tenant_id is None:
            return
        try:
            self._limiter.take(f"runs of {tenant_id}")
        except RateLimited as refusal:
            raise TenantLimitReached(f"{self._most} new runs a minute", refusal.retry_after_seconds) from None
