"""A look at a descriptor that waits for nothing."""

from __future__ import annotations

import select

from gevent import monkey

_poll = monkey.get_original("select", "poll")


def is_readable_now(descriptor: int) -> bool:
    """Whether there is something to read, or an end.

    gevent's own poll would make two watchers and let the hub and all other greenlets have a turn, to wait for nothing.
    """
    poll = _poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
