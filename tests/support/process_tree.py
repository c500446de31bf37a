"""The machine's processes, as ``/proc`` shows them."""

from contextlib import suppress
from pathlib import Path

LEASES = "runtime.execution.lease_process"
CHECKS = "runtime.output.child"

PROCESSES = Path("/proc")


def children(pid: int) -> set[int]:
    """Returns the ids of the processes that this one has started itself."""
    return {child for child, parent in _parents().items() if parent == pid}


def descendants(pid: int, *, command: str = "") -> set[int]:
    """Returns the ids of the processes that this one has started, of those that they have started, and so on.

    ``command`` is a part of the command line that they must have, such as ``LEASES``.
    """
    found: set[int] = set()
    pending = [pid]
    parents = _parents()
    while pending:
        parent_pid = pending.pop()
        started = {child for child, parent in parents.items() if parent == parent_pid} - found
        found |= started
        pending += started
    return {child for child in found if command in _command(child)}


def still_running(pids: set[int]) -> set[int]:
    """Returns those of these processes that still run; a zombie does not count."""
    return {pid for pid in pids if (fields := _fields(pid)) and fields[0] != "Z"}


def _parents() -> dict[int, int]:
    """The id of each process's parent."""
    pids = [int(path.name) for path in PROCESSES.iterdir() if path.name.isdigit()]
    return {pid: int(fields[1]) for pid in pids if (fields := _fields(pid))}


def _fields(pid: int) -> list[str]:
    """The state of a process, its parent and so on; empty when there is no such process."""
    with suppress(FileNotFoundError, ProcessLookupError):
        # The name stands before them, in brackets, and may itself contain brackets.
        return (PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def _command(pid: int) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):
        return (PROCESSES / str(pid) / "cmdline").read_text().replace("\0", " ")
    return ""
