"""What a process and a Redis have used, according to the operating system and Redis."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from redis import Redis

_OWN_COMMANDS = {"cmdstat_info", "cmdstat_mget"}
"""The commands that the benchmark itself sends while it measures."""


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time that all threads of a process have used so far, as precisely as the scheduler counts it."""
    # How Linux numbers the CPU clock of a process: see clock_getcpuclockid(3).
    return time.clock_gettime((~pid << 3) | 2)


def resident_bytes(pid: int) -> int:
    """Returns the memory that a process holds now."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel tells no memory of process {pid}")


def raise_descriptor_limit() -> int:
    """Raises the limit of descriptors to its maximum, for this process and those it starts from now on. Returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@dataclass(frozen=True, slots=True)
class RedisWork:
    """What a Redis has done since its start.

    ``commands`` includes those that scripts call. ``reads`` are reads of a socket that returned commands: one for
    everything that a client sent at once, so about one per round trip. ``clients`` are the connections open now,
    without the one that asks.
    """

    commands: int
    reads: int
    clients: int

    @classmethod
    def of(cls, client: Redis) -> Self:
        commands = client.info("commandstats")
        stats = client.info("stats")
        return cls(
            commands=sum(stat["calls"] for name, stat in commands.items() if name not in _OWN_COMMANDS),
            reads=stats["total_reads_processed"],
            clients=client.info("clients")["connected_clients"] - 1,
        )
