"""A real Redis Cluster for tests: three masters, and a replica of the first."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from tests.support.client import wait_until
from tests.support.redis_server import RedisServer

MASTERS = 3
PASSWORD = "password-of-the-cluster"
NODE_TIMEOUT_MILLISECONDS = 2000
FORM_SECONDS = 60.0


class ClusterNode(RedisServer):
    """One node. Its cluster bus uses a port 10,000 above its own, so a start on a high port fails and is repeated."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, unix_socket=False, persistent=False, password=PASSWORD)
        self.redis = self.client()
        self.id: str = self.ask("CLUSTER", "MYID").decode()

    @property
    def port(self) -> int:
        return self._port

    def ask(self, *command: str | int) -> Any:
        """Returns the raw answer. The command's name is one word or two, as in redis-py."""
        return self.redis.execute_command(*command)

    def info(self) -> dict[str, str]:
        """Returns the fields of CLUSTER INFO."""
        lines = self.redis.execute_command("CLUSTER INFO")
        return dict(lines)

    def _command(self) -> list[str]:
        timeout = str(NODE_TIMEOUT_MILLISECONDS)
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", timeout, "--masterauth", PASSWORD]
        return [*super()._command(), *options]


class RedisCluster:
    """The nodes: three ``masters``, and a ``replica`` of the first. ``url`` is that of the second."""

    def __init__(self, nodes: list[ClusterNode]) -> None:
        self.masters = nodes[:MASTERS]
        self.replica = nodes[MASTERS]
        self.url = self.masters[1].url
        self._form()

    def master_of(self, key: str) -> ClusterNode:
        """The node that has a key, until a slot is moved or a node replaced."""
        return self.masters[_number_of(key_slot(key.encode()))]

    def begin_to_move(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        """Begins to move a slot: from now on its keys may be on either node."""
        target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target.id)

    def move_keys(self, slot: int, source: ClusterNode, target: ClusterNode, *, at_most: int = 1000) -> int:
        """Moves some keys of the slot, and returns how many."""
        keys = source.ask("CLUSTER GETKEYSINSLOT", slot, at_most)
        if keys:
            options = ("AUTH", PASSWORD, "KEYS", *keys)
            source.redis.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, *options)
        return len(keys)

    def finish_moving(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        """Assigns the slot to its new node; all its keys must have been moved."""
        for node in (target, source, *(one for one in self.masters if one not in (source, target))):
            node.ask("CLUSTER SETSLOT", slot, "NODE", target.id)

    def _form(self) -> None:
        nodes = [*self.masters, self.replica]
        for number, node in enumerate(self.masters):
            slots = [slot for slot in range(REDIS_CLUSTER_HASH_SLOTS) if _number_of(slot) == number]
            node.ask("CLUSTER ADDSLOTS", *slots)
            node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            nodes[0].ask("CLUSTER MEET", "127.0.0.1", node.port)
        wait_until(lambda: all(self._knows_all(node) for node in nodes), timeout=FORM_SECONDS)
        self.replica.ask("CLUSTER REPLICATE", self.masters[0].id)
        wait_until(self._is_replicated, timeout=FORM_SECONDS)
        wait_until(lambda: all(node.info()["cluster_state"] == "ok" for node in nodes), timeout=FORM_SECONDS)

    def _knows_all(self, node: ClusterNode) -> bool:
        info = node.info()
        return info["cluster_known_nodes"] == str(MASTERS + 1) and info["cluster_slots_assigned"] == "16384"

    def _is_replicated(self) -> bool:
        info: dict[str, Any] = self.replica.redis.info("replication")
        return info["role"] == "slave" and info["master_link_status"] == "up"


def _number_of(slot: int) -> int:
    """The number of the master that has a slot at first."""
    return slot * MASTERS // REDIS_CLUSTER_HASH_SLOTS


@contextmanager
def running_cluster() -> Iterator[RedisCluster]:
    """Runs a cluster for the time of the block."""
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    try:
        with ExitStack() as stack:
            nodes = []
            for number in range(MASTERS + 1):
                (folder / str(number)).mkdir()
                node = ClusterNode(folder / str(number))
                stack.callback(node.close)
                nodes.append(node)
            yield RedisCluster(nodes)
    finally:
        shutil.rmtree(folder)
