"""Every Redis key this service uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one prefix, in the layout of Dify's run server.

    A Redis Cluster needs all keys of one script on one node. There ``buckets`` is set: the keys of a run carry the hash
    tag of its bucket, and what is kept for all runs is kept once per bucket.
    """

    prefix: str
    buckets: int | None = None

    @property
    def all_buckets(self) -> range:
        """All buckets; without a cluster there is one."""
        return range(self.buckets or 1)

    def bucket(self, name: str) -> int:
        """Returns the bucket of a run, a worker or a digest: of any name that ends in hexadecimal digits."""
        return int(name[-8:], 16) % self.buckets if self.buckets else 0

    def record(self, run_id: str) -> str:
        """Returns the key of the run record, a JSON string."""
        return f"{self.prefix}:runs:{self._tagged(run_id)}:record"

    def events(self, run_id: str) -> str:
        """Returns the key of the run's events, a stream with the fields ``type`` and ``payload``."""
        return f"{self.prefix}:runs:{self._tagged(run_id)}:events"

    def control(self, worker: str) -> str:
        """Returns the key of the messages to one worker process, a short-lived stream."""
        return f"{self.prefix}:workers:{self._tagged(worker)}:control"

    def idempotency(self, digest: str) -> str:
        """Returns the key of the id of the run that was made under an idempotency key, given by its digest."""
        return f"{self.prefix}:idempotency:{self._tagged(digest)}"

    def token_bucket(self, name: str) -> str:
        """Returns the key of the time when a token bucket will be full again, in microseconds."""
        return f"{self.prefix}:rates:{self._tagged(name)}"

    def leases(self, bucket: int = 0) -> str:
        """Returns the key of the leases: a sorted set of the runs being executed, scored by expiry in milliseconds."""
        return self._of_bucket("leases", bucket)

    def reaper(self, bucket: int = 0) -> str:
        """Returns the key of the lock of the worker that looks for expired leases."""
        return self._of_bucket("reaper", bucket)

    def feed(self, bucket: int = 0) -> str:
        """Returns the key of the feed of starts and ends of runs, a stream with the fields ``type`` and ``payload``."""
        return self._of_bucket("feed", bucket)

    def ends(self, bucket: int = 0) -> str:
        """Returns the key of the announced ends, a stream with a consumer group for each observer."""
        return self._of_bucket("ends", bucket)

    def of_end(self, run_id: str, idempotency_digest: str | None = None) -> list[str]:
        """Returns the keys for the script of an end: record, events, leases, feed, ends, and any idempotency key."""
        record, events, leases, feed, *idempotency = self.of_run(run_id, idempotency_digest)
        return [record, events, leases, feed, self.ends(self.bucket(run_id)), *idempotency]

    def of_run(self, run_id: str, idempotency_digest: str | None = None) -> list[str]:
        """Returns the keys for the scripts of a run: record, events, leases, feed, and any idempotency key."""
        bucket = self.bucket(run_id)
        keys = [self.record(run_id), self.events(run_id), self.leases(bucket), self.feed(bucket)]
        return [*keys, self.idempotency(idempotency_digest)] if idempotency_digest else keys

    def _tagged(self, name: str) -> str:
        return f"{{{self.bucket(name):02d}}}:{name}" if self.buckets else name

    def _of_bucket(self, kind: str, bucket: int) -> str:
        return f"{self.prefix}:{kind}:{{{bucket:02d}}}" if self.buckets else f"{self.prefix}:{kind}"
