"""Logs errors that no caller is left to handle.

gevent, asyncio and Python themselves would print them with their texts and arguments.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from typing import Any

import gevent

from runtime.protocol.wordless import wordless

logger = logging.getLogger(__name__)


def log_stray_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Logs the stray errors of this thread's greenlets, of ``loop``, of other threads and of finalizers."""
    gevent.get_hub().print_exception = _log_greenlet_error  # type: ignore[method-assign, assignment]
    loop.set_exception_handler(_log_loop_error)
    threading.excepthook = _log_thread_error
    sys.unraisablehook = _log_unraisable


def _log_greenlet_error(context: object, kind: object, error: object, trace: object) -> None:
    logger.error(
        "unexpected error in a greenlet", exc_info=wordless(error) if isinstance(error, BaseException) else None
    )


def _log_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if error is not None:  # not asyncio's own message, which quotes the callback with its arguments
        logger.error("unexpected error in the event loop", exc_info=wordless(error))
    else:
        logger.error("event loop: %s", context.get("message"))


def _log_thread_error(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        logger.error("unexpected error in a thread", exc_info=wordless(args.exc_value) if args.exc_value else None)


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    logger.error("unexpected error in a finalizer", exc_info=wordless(args.exc_value) if args.exc_value else None)
