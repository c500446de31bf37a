"""Every Redis key this service uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one prefix, laid out as Dify's run server has them.

    A Redis Cluster needs all keys of one script on one node. There ``buckets`` is set: the keys of a run carry the hash
    tag of its bucket, and what is kept for all runs is kept once a bucket.
    """

    prefix: str
    buckets: int | None = None

    @property
    def all_buckets(self) -> range:
        """The buckets there are; one without a cluster."""
        return range(self.buckets or 1)

    def bucket(self, name: str) -> int:
        """The bucket of a run, a worker or a digest: of anything that ends in hexadecimal digits."""
        return int(name[-8:], 16) % self.buckets if self.buckets else 0

    def record(self, run_id: str) -> str:
        """The run record, a JSON string."""
        return f"{self.prefix}:runs:{self._tagged(run_id)}:record"

    def events(self, run_id: str) -> str:
        """The run's events, a stream with the fields ``type`` and ``payload``."""
        return f"{self.prefix}:runs:{self._tagged(run_id)}:events"

    def control(self, worker: str) -> str:
        """Messages to one worker process, a short-lived stream."""
        return f"{self.prefix}:workers:{self._tagged(worker)}:control"

    def idempotency(self, digest: str) -> str:
        """The run that was made under an idempotency key, by the key's digest."""
        return f"{self.prefix}:idempotency:{self._tagged(digest)}"

    def token_bucket(self, name: str) -> str:
        """When a token bucket will be full again, in microseconds."""
        return f"{self.prefix}:rates:{self._tagged(name)}"

    def leases(self, bucket: int = 0) -> str:
        """The runs that are executed, a sorted set scored by when their leases expire, in milliseconds."""
        return self._of_bucket("leases", bucket)

    def reaper(self, bucket: int = 0) -> str:
        """The lock of the worker that looks for expired leases."""
        return self._of_bucket("reaper", bucket)

    def feed(self, bucket: int = 0) -> str:
        """Runs as they start and end, a stream with the fields ``type`` and ``payload``."""
        return self._of_bucket("feed", bucket)

    def ends(self, bucket: int = 0) -> str:
        """Ends that somebody has to hear of, a stream with a consumer group for each observer."""
        return self._of_bucket("ends", bucket)

    def of_end(self, run_id: str, idempotency_digest: str | None = None) -> list[str]:
        """The keys that the script of an end takes: record, events, leases, feed, ends, and its idempotency key."""
        record, events, leases, feed, *idempotency = self.of_run(run_id, idempotency_digest)
        return [record, events, leases, feed, self.ends(self.bucket(run_id)), *idempotency]

    def of_run(self, run_id: str, idempotency_digest: str | None = None) -> list[str]:
        """The keys that the scripts of a run take: record, events, leases, feed, and its idempotency key if any."""
        bucket = self.bucket(run_id)
        keys = [self.record(run_id), self.events(run_id), self.leases(bucket), self.feed(bucket)]
        return [*keys, self.idempotency(idempotency_digest)] if idempotency_digest else keys

    def _tagged(self, name: str) -> str:
        return f"{{{self.bucket(name):02d}}}:{name}" if self.buckets else name

    def _of_bucket(self, kind: str, bucket: int) -> str:
        return f"{self.prefix}:{kind}:{{{bucket:02d}}}" if self.buckets else f"{self.prefix}:{kind}"
