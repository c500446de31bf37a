"""The mixed load of ``dev/soak``: runs, readers and cancels for minutes, with one fault injected after the other.

``python -m tests.soak [minutes] [seed]``. It prints what it does and exits with 1 when there was a violation.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable

from tests.conftest import environment
from tests.support.client import wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.redis_server import RedisServer, running_redis
from tests.support.steady_load import Shape, SteadyLoad

WORKERS = 2
CALM_SECONDS = (3.0, 10.0)
"""The pause between two faults."""
PAUSE_SECONDS = (0.5, 6.0)
END_SECONDS = 180.0
"""The time after the last fault by which every run must have ended for all its readers."""
SHAPE = Shape(readers_a_run=4, cancelled_runs=0.2, vanishing_readers=2)
NO_DAEMON = "http://127.0.0.1:9"

logger = logging.getLogger("soak")


class Faults:
    """Injects faults, chosen at random."""

    def __init__(self, server: GunicornServer, redis_server: RedisServer, seed: int) -> None:
        self._server = server
        self._redis_server = redis_server
        self._random = random.Random(seed)  # noqa: S311
        self._all: list[Callable[[], None]] = [
            self.kill_a_worker,
            self.end_a_worker,
            self.reload,
            self.restart_redis,
            self.pause_redis,
        ]

    def throw(self) -> None:
        """Injects one fault, after a calm period and with all workers running."""
        time.sleep(self._random.uniform(*CALM_SECONDS))
        wait_until(self._is_complete, timeout=120)
        fault = self._random.choice(self._all)
        logger.info("fault: %s", fault.__name__.replace("_", " "))
        fault()

    def _is_complete(self) -> bool:
        if not self._server.is_running():
            raise RuntimeError(f"gunicorn has ended by itself:\n{self._server.log[-3000:]}")
        return len(self._server.workers()) >= WORKERS

    def kill_a_worker(self) -> None:
        os.kill(self._random.choice(self._server.workers()), signal.SIGKILL)

    def end_a_worker(self) -> None:
        os.kill(self._random.choice(self._server.workers()), signal.SIGTERM)

    def reload(self) -> None:
        self._server.send_signal(signal.SIGHUP)

    def restart_redis(self) -> None:
        self._redis_server.restart()

    def pause_redis(self) -> None:
        self._redis_server.pause()
        time.sleep(self._random.uniform(*PAUSE_SECONDS))
        self._redis_server.resume()


def soak(minutes: float, seed: int) -> list[str]:
    """Runs the load and returns the violations."""
    with running_redis(persistent=True) as redis_server:
        env = environment(redis_server.url, NO_DAEMON, redis_prefix="soak", shutdown_grace_seconds=10)
        with (
            running_server(env, workers=WORKERS, cold=True) as server,
            SteadyLoad(server.url, SHAPE, seed=seed) as load,
        ):
            faults = Faults(server, redis_server, seed)
            end = time.monotonic() + minutes * 60
            while time.monotonic() < end:
                faults.throw()
                logger.info("%d runs ended, %d under way", load.ends.total(), len(load.accepted))
            load.stop_starting()
            load.wait_until_checked(timeout=END_SECONDS)
            wait_until(lambda: redis_server.client().zcard("soak:leases") == 0, timeout=END_SECONDS)
            report(load)
            wrong = [f"a start was answered {status}" for _, status in load.refusals if status != 503]
            return load.violations + wrong


def report(load: SteadyLoad) -> None:
    for end, number in sorted(load.ends.items()):
        logger.info("%6d %s", number, end)
    logger.info("%6d streams cut, and gone on with elsewhere", load.cuts)
    logger.info("%6d answers of 503", len(load.refusals))
    logger.info("%6d requests whose connection was lost", len(load.failures))


def main(minutes: float = 10, seed: float | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    chosen = int(seed) if seed is not None else random.randrange(1_000_000)  # noqa: S311
    logger.info("%g minutes of a mixed load with faults, seed %d", minutes, chosen)
    violations = soak(minutes, chosen)
    for violation in violations:
        logger.error("violated: %s", violation)
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
