"""Open streams: how many a tenant has on this worker, and the bound on them."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

from errors import TenantLimitReached


class OpenStream:
    """One stream of a tenant, which counts until it is closed. As a context it is closed only when the block raises."""

    __slots__ = ("_streams", "_tenant_id")

    def __init__(self, streams: OpenStreams, tenant_id: str) -> None:
        self._streams: OpenStreams | None = streams
        self._tenant_id = tenant_id

    def close(self) -> None:
        """Counts no longer, however often it is called."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams.remove(self._tenant_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None:
            self.close()

    def __del__(self) -> None:
        """Of a response that nobody has begun to send, as to HEAD, nothing is left but this."""
        self.close()


class OpenStreams:
    """Counts the streams of each tenant here: at most ``most`` at once, and 0 is no bound."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[str] = Counter()

    def open(self, tenant_id: str | None) -> OpenStream | None:
        """Counts one more stream; None when it is not counted, as without a tenant. Raises TenantLimitReached."""
        if not self._most or tenant_id is None:
            return None
        if self._counts[tenant_id] >= self._most:
            raise TenantLimitReached(f"{self._most} open streams")
        self._counts[tenant_id] += 1
        return OpenStream(self, tenant_id)

    def remove(self, tenant_id: str) -> None:
        """Counts one less."""
        self._counts[tenant_id] -= 1
        if not self._counts[tenant_id]:
            del self._counts[tenant_id]
