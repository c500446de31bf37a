"""The runtime: everything that lives as long as a worker process, and the order in which it starts and stops."""

from __future__ import annotations

import dataclasses
import gc
import logging
import time
from collections.abc import Callable

import gevent
from gevent import monkey
from gevent.event import Event

from errors import StorageUnavailable
from runtime.config import RuntimeConfig
from runtime.events.end_stream import EndStream
from runtime.events.hub import Hub
from runtime.events.keys import Keys
from runtime.events.leases import Leases
from runtime.events.log import EventLog
from runtime.events.store import Lifetimes, RunStore
from runtime.events.token_buckets import TokenBuckets
from runtime.events.topology import Cluster, SingleServer, Topology
from runtime.execution.bridge import LoopBridge
from runtime.execution.concurrency_limiter import ConcurrencyLimiter
from runtime.execution.lease_keeper import LeaseKeeper
from runtime.execution.local_executor import LocalExecutor
from runtime.execution.reaper import Reaper
from runtime.execution.runner import Runner
from runtime.execution.stray_errors import log_stray_errors
from runtime.layers.default_model import default_model_layer
from runtime.llm.clients import ModelClients
from runtime.llm.plugin_daemon import PluginDaemonClient
from runtime.llm.providers import ProviderClient
from runtime.output import close_shared_pool
from runtime.protocol.ids import new_id
from runtime.runs.executor import StopReason
from runtime.runs.feed import RunFeed
from runtime.runs.observers import Observers
from runtime.runs.origins import Origins
from runtime.runs.runs import Runs

logger = logging.getLogger(__name__)

ACCEPT_SECONDS = 3.5
"""How long a stopping worker still accepts runs.

gunicorn closes its listening socket within a second, and a connection that is kept alive may bring one more request
within two. Refusing those runs would fail requests at every reload.
"""
FINALISE_SECONDS = 2.0
"""The time after the grace in which stopped runs write their ends."""
FLUSH_SECONDS = 1.0
CUT_SECONDS = 0.5
DRAIN_POLL_SECONDS = 0.05
STOP_MESSAGE = "stop"


class NotPatched(RuntimeError):
    """the runtime needs a gevent-patched process: run it under gunicorn with its gevent worker"""

    def __init__(self) -> None:
        super().__init__((type(self).__doc__ or "").strip())


class Runtime:
    """Everything that a worker process keeps open. Creating it opens nothing; ``start`` does, and ``close`` ends it.

    There is one per worker process. Services know it as a ``Worker``; they fill ``origins`` and ``observers`` before it
    starts.
    """

    def __init__(self, config: RuntimeConfig) -> None:
        self.config = config
        self._worker = new_id()
        self.is_draining = False
        self._default_model = default_model_layer(config.default_model, config.rules)
        self.origins, self.observers = Origins(), Observers()
        self._keys = Keys(config.redis_prefix, config.redis_cluster_buckets)
        self._grace = config.shutdown_grace_seconds
        self._started = False
        self._starters: list[Callable[[], None]] = []
        self._closers: list[Callable[[], None]] = []
        self._callers_gone = Event()
        self._drained = Event()

    def start(self) -> None:
        """Starts everything, once. Raises NotPatched in a process that gevent has not patched."""
        if self._started:
            return
        if not monkey.is_module_patched("socket"):
            raise NotPatched
        self._started = True
        config = self.config
        redis: Topology = (Cluster if self._keys.buckets else SingleServer)(config.redis_url, self._keys)
        self._requests = redis.requests
        self._store = RunStore(
            self._requests,
            self._keys,
            Lifetimes(config.run_retention_seconds, config.lease_seconds, config.max_wait_seconds),
            self.observers,
        )
        self._token_buckets = TokenBuckets(self._requests, self._keys)
        self._hub = Hub(redis, self._keys.control(self._worker), on_control=self._on_control)
        self._log = redis.log(
            lambda link: EventLog(
                link,
                self._keys,
                self._hub,
                self.observers,
                retention_seconds=config.run_retention_seconds,
                max_run_bytes=config.max_run_event_bytes,
            )
        )
        self._bridge = LoopBridge(config.event_loop)
        self._clients = _clients(config)
        runner = Runner(self._clients, default_model=self._default_model, limits=config.limits)
        limiter = ConcurrencyLimiter(runner, places=config.max_active_runs, wait_seconds=config.max_wait_seconds)
        size = config.max_active_runs + config.max_waiting_runs
        self._lease_keeper = LeaseKeeper(
            config.redis_url,
            self._keys,
            lease_seconds=config.lease_seconds,
            owned=lambda: self._executor.active,
            on_gone=lambda run_id: self._executor.stop(run_id, StopReason.LEASE_LOST),
        )
        self._executor = LocalExecutor(
            bridge=self._bridge,
            limiter=limiter,
            log=self._log,
            origins=self.origins,
            size=size,
            on_start=self._lease_keeper.tell,
        )
        self._runs = Runs(
            worker=self._worker,
            keys=self._keys,
            store=self._store,
            hub=self._hub,
            log=self._log,
            executor=self._executor,
            feed=RunFeed(redis.feed(self._hub), self._hub),
            tell_owner=self._tell_owner,
        )
        self._reaper = Reaper(
            Leases(self._requests, self._keys, worker=self._worker),
            self._store,
            lease_seconds=config.lease_seconds,
            wait_seconds=config.max_wait_seconds,
            stop_owner=self._tell_owner,
        )
        log_stray_errors(self._bridge.loop)
        self._bridge.start()
        self._requests.start()
        self._log.start()
        self._hub.start()
        self._lease_keeper.start()
        self._reaper.start()
        self.observers.start(EndStream(self._requests, self._keys, worker=self._worker))
        for starter in self._starters:
            starter()
        _calm_garbage_collection()
        gevent.config.track_greenlet_tree = False  # it looks at the stack for each greenlet, only for debuggers

    @property
    def runs(self) -> Runs:
        """The runs of this worker. First use starts everything, if ``start`` was not called. Raises NotPatched."""
        self.start()
        return self._runs

    def take_token(self, name: str, *, rate: float, burst: int) -> float:
        """Takes a token from a bucket that all workers share. Returns 0, or the seconds until there will be one.

        ``name`` ends in hexadecimal digits. Raises StorageUnavailable, also before the start.
        """
        if not self._started:
            raise StorageUnavailable
        return self._token_buckets.take(name, rate=rate, burst=burst)

    def hurry(self) -> None:
        """Makes a present or future drain end now."""
        self._grace = 0.0
        self._callers_gone.set()

    def expect_no_callers(self) -> None:
        """Informs a present or future drain that no connection is left that could bring another run."""
        self._callers_gone.set()

    def drain(self) -> None:
        """Waits for the last callers, lets the active runs go on for the grace, ends the rest, and writes what is left.

        A second caller waits for the first.
        """
        if not self._started:
            return
        if self.is_draining:
            self._drained.wait()
            return
        self.is_draining = True
        begun = time.monotonic()
        self._callers_gone.wait(min(ACCEPT_SECONDS, self._grace))
        self._executor.refuse()
        self._hub.cut_endless()
        logger.info("draining: %d runs, %d subscribers", len(self._executor.active), self._hub.subscriber_count)
        while self._is_busy and time.monotonic() - begun < self._grace:
            gevent.sleep(DRAIN_POLL_SECONDS)
        self.observers.stop()  # ends from now on are left to other workers, which start the runs that waited for them
        if not self._executor.drain(FINALISE_SECONDS):
            logger.warning("draining: %d runs did not end in time", len(self._executor.active))
        if not self._log.flush(FLUSH_SECONDS):
            logger.warning("draining: some events could not be written")
        self._cut_subscribers()
        self._drained.set()

    def at_start(self, starter: Callable[[], None]) -> None:
        """Has ``starter`` called at the start, for something that lives as long but is not part of the runtime."""
        self._starters.append(starter)

    def at_close(self, closer: Callable[[], None]) -> None:
        """Has ``closer`` called at the close, in reverse order, for something that is not part of the runtime."""
        self._closers.append(closer)

    def close(self) -> None:
        """Closes everything. Without a drain before, the active runs are left to the reaper."""
        for closer in reversed(self._closers):
            closer()
        if not self._started:
            return
        self.observers.close()
        self._reaper.close()
        self._hub.close()
        self._log.close()
        self._lease_keeper.close()
        if not self._bridge.loop.is_closed():
            self._bridge.run(self._clients.aclose())
        self._bridge.close()
        self._requests.close()
        close_shared_pool()

    @property
    def _is_busy(self) -> bool:
        """Whether there is anything that a drain waits for."""
        return self._executor.is_busy or self.observers.is_busy or self._hub.subscriber_count > 0

    def _cut_subscribers(self) -> None:
        """Lets subscribers of just ended runs get their last event, then cuts the others and kills stuck ones."""
        self._wait_for_subscribers()
        self._hub.cut_all()
        self._wait_for_subscribers()
        self._hub.abandon_all()

    def _wait_for_subscribers(self) -> None:
        begun = time.monotonic()
        while self._hub.subscriber_count and time.monotonic() - begun < CUT_SECONDS:
            gevent.sleep(DRAIN_POLL_SECONDS)

    def _tell_owner(self, run_id: str, worker: str) -> None:
        """Informs a run's owner that the run has ended elsewhere."""
        if worker == self._worker:
            self._executor.stop(run_id, StopReason.ENDED_ELSEWHERE)
        else:
            self._store.tell_worker(worker, STOP_MESSAGE, run_id)

    def _on_control(self, message: str, run_id: str) -> None:
        if message == STOP_MESSAGE:
            self._executor.stop(run_id, StopReason.ENDED_ELSEWHERE)
        else:
            logger.warning("control stream: unknown message %r", message)


def _clients(config: RuntimeConfig) -> ModelClients:
    daemon = config.plugin_daemon
    return ModelClients(
        plugin_daemon=PluginDaemonClient(**dataclasses.asdict(daemon)),
        providers=ProviderClient(
            allow_private=config.rules.allow_private_urls,
            connect_timeout=daemon.connect_timeout,
            read_timeout=daemon.read_timeout,
            write_timeout=daemon.write_timeout,
            max_keepalive_connections=daemon.max_keepalive_connections,
            keepalive_expiry=daemon.keepalive_expiry,
        ),
        rules=config.rules,
    )


def _calm_garbage_collection() -> None:
    """Excludes what is loaded by now from collections, and collects less often.

    This saves a quarter of the CPU time at 100 runs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
