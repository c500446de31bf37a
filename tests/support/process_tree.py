"""Processes as the machine sees them."""

import subprocess


def descendants(pid: int) -> set[int]:
    """Return the ids of the processes that this one started, and of those they started."""
    found: set[int] = set()
    pending = [pid]
    parents = [(child, parent) for child, parent, _ in _processes()]
    while pending:
        parent_pid = pending.pop()
        children = {child for child, parent in parents if parent == parent_pid} - found
        found |= children
        pending += children
    return found


def still_running(pids: set[int]) -> set[int]:
    """Return which of these processes run; one that ended and was not collected does not."""
    return {pid for pid, _, state in _processes() if pid in pids and not state.startswith("Z")}


def _processes() -> list[tuple[int, int, str]]:
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    return [(int(pid), int(parent), state) for pid, parent, state in (line.split() for line in listed.splitlines())]
