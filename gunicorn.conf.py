"""gunicorn's configuration. Run with: gunicorn -c gunicorn.conf.py app:app

Nothing imported here opens a socket or takes a lock: the master forks, and each worker patches itself afterwards.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from app_logging import make_handlers_safe
from settings import Settings

try:
    _settings = Settings()
except (ValidationError, SettingsError) as error:
    sys.exit(f"Greenrun cannot start, its settings are wrong:\n{error}")

DRAIN_MARGIN_SECONDS = 4
"""How long after the grace a worker needs to end what is left and to exit."""

TRIAL_SECONDS = 120
"""How long creating the application may take before a reload is refused."""

TRIAL = "from gevent import monkey; monkey.patch_all(); import sys, gunicorn.util as util; util.import_app(sys.argv[1])"

_QUERY = re.compile(r"\?\S*|\btoken=[^\s&]*")
_MALFORMED = re.compile(r"(Invalid request from ip=[^'\"]*)['\"].*", re.DOTALL)

bind = "127.0.0.1:5050"
workers = 1
worker_class = "gevent"
worker_connections = 10_000
preload_app = False
keepalive = 2
timeout = int(_settings.shutdown_grace_seconds) + 120
graceful_timeout = int(_settings.shutdown_grace_seconds) + DRAIN_MARGIN_SECONDS + 6
accesslog = None
control_socket_disable = True
# These three bound the head of a request to some 800 KB. It must arrive within ``keepalive`` seconds.
limit_request_line = 4094
limit_request_fields = 100
limit_request_field_size = 8190
# By default any client that counts as a proxy, such as any program on this machine, may set the path of the request by
# headers.
forwarder_headers = ""
if _settings.trusted_proxies:
    forwarded_allow_ips = ",".join(_settings.trusted_proxy_networks)


def on_starting(server: Any) -> None:
    """Refuses to start with a configuration that cannot work."""
    _refuse_if(server.cfg.worker_class_str != "gevent", "the worker class must be gevent")
    _refuse_if(server.cfg.preload_app, "preload_app must be off: connections are opened after the fork")
    _refuse_if(server.cfg.keepalive > 2, "keepalive must be at most 2 seconds, or idle connections hold up an exit")
    _refuse_if(server.cfg.keepalive < 1, "keepalive must be at least 1 second: it bounds how long headers may take")
    least = _settings.shutdown_grace_seconds + DRAIN_MARGIN_SECONDS
    _refuse_if(
        server.cfg.graceful_timeout <= least,
        f"graceful_timeout must be more than {least:g} seconds (DIFY_AGENT_SHUTDOWN_GRACE_SECONDS plus "
        f"{DRAIN_MARGIN_SECONDS}), or runs are killed while they may still go on",
    )
    _raise_descriptor_limit()
    server.handle_hup = partial(_reload_what_can_work, server, server.handle_hup)
    for name in ("gunicorn.error", "gunicorn.access"):
        logging.getLogger(name).addFilter(_cut_queries)
        logging.getLogger(name).addFilter(_shorten_stalls)
        make_handlers_safe(logging.getLogger(name))


def when_ready(server: Any) -> None:
    """Has the kernel close connections whose reader takes nothing: otherwise they would be kept for ever."""
    for listener in server.LISTENERS:
        if listener.sock.family in (socket.AF_INET, socket.AF_INET6):
            patience = _settings.stalled_reader_seconds * 1000
            listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)


def post_fork(server: Any, worker: Any) -> None:
    """Remembers the queue in which the inherited handlers of the master put signals: no worker reads it."""
    worker.signals_before_its_own = server.SIG_QUEUE


def post_worker_init(worker: Any) -> None:
    _obey_early_stop(worker)
    from blueprints.malformed_http import answer_in_our_shape
    from blueprints.rate_limit import TRUSTED_PROXIES
    from runtime.gunicorn_worker import attach

    answer_in_our_shape()
    runtime = _runtime(worker)
    if runtime is not None:
        worker.wsgi.extensions[TRUSTED_PROXIES] = tuple(worker.cfg.forwarded_allow_ips)
        attach(runtime, worker)


def worker_int(worker: Any) -> None:
    from runtime.gunicorn_worker import hurry

    runtime = _runtime(worker)
    if runtime is not None:
        hurry(runtime)


def worker_exit(server: Any, worker: Any) -> None:
    runtime = _runtime(worker)
    if runtime is not None:
        from runtime.gunicorn_worker import detach

        detach(runtime)


def _runtime(worker: Any) -> Any:
    """Returns the runtime of the worker's Flask application; None when the application failed to load."""
    return getattr(getattr(worker, "wsgi", None), "extensions", {}).get("greenrun")


def _reload_what_can_work(server: Any, reload: Callable[[], None]) -> None:
    """Reloads unless the new workers could not start: gunicorn would then stop, and the old workers with it."""
    try:
        Settings()
    except (ValidationError, SettingsError) as error:
        server.log.warning("Not reloaded, the settings are wrong; the workers go on with those they have:")
        for line in str(error).splitlines():
            server.log.warning("  %s", line)
        return
    # The code, and what else the settings lead to, are tried in a separate process: the master imports none of it.
    command = [sys.executable, "-c", TRIAL, server.app.app_uri]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        subprocess.run(command, env=environ, check=True, timeout=TRIAL_SECONDS)
    except (subprocess.SubprocessError, OSError):
        server.log.warning("Not reloaded, the application cannot be made; the workers go on as they are")
        return
    reload()


def _obey_early_stop(worker: Any) -> None:
    """Stops a worker that received a stop signal before it had its own handlers: it would be killed after the grace."""
    signals = worker.signals_before_its_own
    while not signals.empty():
        if signals.get_nowait() in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            worker.alive = False


def _refuse_if(wrong: bool, message: str) -> None:
    if wrong:
        sys.exit(f"Greenrun cannot start: {message}")


def _cut_queries(record: logging.LogRecord) -> bool:
    """Removes queries and malformed headers from gunicorn's messages: a query may contain a stream token."""
    record.msg, record.args = _QUERY.sub("", _MALFORMED.sub(r"\1(not shown)", record.getMessage())), None
    return True


def _shorten_stalls(record: logging.LogRecord) -> bool:
    """Logs a stalled reader as information: gunicorn logs it as an error of the server, with a stack trace."""
    if record.exc_info and isinstance(record.exc_info[1], TimeoutError):
        record.msg, record.args, record.exc_info = "A reader took nothing for too long and was cut", None, None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


def _raise_descriptor_limit() -> None:
    """Raises the soft limit of descriptors: each stream needs one, and the usual 1,024 are exhausted first."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
