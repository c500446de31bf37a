"""Polls a descriptor without waiting."""

from __future__ import annotations

import select

from gevent import monkey

_poll = monkey.get_original("select", "poll")


def is_readable_now(descriptor: int) -> bool:
    """Returns whether there is something to read, or an end of file.

    gevent's own poll would create two watchers and give the hub and all other greenlets a turn, without need.
    """
    poll = _poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
