"""Processes as the machine sees them."""

import subprocess

LEASES = "runtime.execution.lease_process"
CHECKS = "runtime.output.child"


def children(pid: int) -> set[int]:
    """Return the ids of the processes that this one started itself."""
    return {child for child, parent, _, _ in _processes() if parent == pid}


def descendants(pid: int, *, command: str = "") -> set[int]:
    """Return the ids of the processes that this one started, and of those they started; or those with such a command.

    Args:
        command: a part of the command line, such as `LEASES`.
    """
    found: set[int] = set()
    pending = [pid]
    processes = _processes()
    while pending:
        parent_pid = pending.pop()
        started = {child for child, parent, _, _ in processes if parent == parent_pid} - found
        found |= started
        pending += started
    return {child for child, _, _, line in processes if child in found and command in line}


def still_running(pids: set[int]) -> set[int]:
    """Return which of these processes run; one that ended and was not collected does not."""
    return {pid for pid, _, state, _ in _processes() if pid in pids and not state.startswith("Z")}


def _processes() -> list[tuple[int, int, str, str]]:
    """The process id, the parent's, the state and the command line of each."""
    columns = ["ps", "-ww", "-e", "-o", "pid=,ppid=,stat=,args="]
    listed = subprocess.run(columns, capture_output=True, text=True, check=True).stdout
    fields = [line.split(None, 3) for line in listed.splitlines()]
    return [(int(pid), int(parent), state, "".join(line)) for pid, parent, state, *line in fields]
