"""Which node of a Redis Cluster has which keys, as far as this process has been told."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from redis.cluster import parse_cluster_slots
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from runtime.events.connections import LINK_ERRORS, RedisLink

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 1.0
"""How long a node may take to be connected to, and to answer: somebody waits, and there are others to ask."""
LOOK_SECONDS = 2.0
"""After so long no further node is asked."""


def slot_of(key: str) -> int:
    """The hash slot of a key. Keys of one slot are always on one node."""
    return key_slot(key.encode())


class SlotMap:
    """Finds the master of a key. Nodes are named ``host:port``.

    ``url`` leads to any node; the others are reached with its scheme, credentials and options.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._nodes: list[str | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._lock = threading.Lock()
        self._failed_looks = 0
        self._failure = ""
        self.version = 0
        """Counts how often the cluster was asked; see ``look_again``."""

    @property
    def nodes(self) -> list[str]:
        """All masters that are known. Raises one of LINK_ERRORS when that is none."""
        if not self.version:
            self._look(0, avoid=None)
        return sorted({node for node in self._nodes if node is not None})

    def node_of(self, key: str) -> str:
        """The node that has a key, or would have it. Raises one of LINK_ERRORS when that is not known."""
        slot = slot_of(key)
        node = self._nodes[slot]
        if node is None:
            self._look(self.version, avoid=None)
            node = self._nodes[slot]
        if node is None:
            raise RedisConnectionError(f"no node of the cluster has slot {slot}")
        return node

    def last_node_of(self, key: str) -> str:
        """The node that had a key when this was last learned, without asking anybody; empty when it never was."""
        return self._nodes[slot_of(key)] or ""

    def url_of(self, node: str) -> str:
        """The URL of a node, credentials included."""
        credentials, at, _ = self._url.netloc.rpartition("@")
        return self._url._replace(netloc=f"{credentials}{at}{node}").geturl()

    def target_of(self, error: AskError, *, asked: str) -> str:
        """The node that a redirection leads to."""
        return _address(error.host or asked.rpartition(":")[0], error.port)

    def move(self, error: AskError, *, asked: str) -> None:
        """Take note of what a node has answered that no longer has a slot."""
        self._nodes[error.slot_id] = self.target_of(error, asked=asked)

    def look_again(self, seen: int, *, avoid: str | None = None) -> None:
        """Ask the cluster, unless somebody has since ``version`` was ``seen``. What cannot be learned stays as it is.

        ``avoid`` is the node that has just failed.
        """
        try:
            self._look(seen, avoid=avoid)
        except LINK_ERRORS as error:
            logger.warning("cluster: its nodes cannot be learned: %s", error)

    def _look(self, seen: int, *, avoid: str | None) -> None:
        failed_looks = self._failed_looks
        with self._lock:
            if self.version != seen:
                return
            if self._failed_looks != failed_looks:
                raise RedisConnectionError(f"no node tells of the cluster: {self._failure}")
            begun = time.monotonic()
            for node in self._candidates(avoid):
                try:
                    self._learn(node)
                except (*LINK_ERRORS, ResponseError) as error:
                    self._failure = str(error)
                else:
                    self.version += 1
                    return
                if time.monotonic() - begun > LOOK_SECONDS:
                    break
            self._failed_looks += 1
            raise RedisConnectionError(f"no node tells of the cluster: {self._failure}")

    def _candidates(self, avoid: str | None) -> list[str]:
        """Whom to ask, the node to avoid last."""
        seed = _address(self._url.hostname or "localhost", self._url.port or 6379)
        known = dict.fromkeys([*(node for node in self._nodes if node is not None), seed])
        return sorted(known, key=lambda node: node == avoid)

    def _learn(self, node: str) -> None:
        url = self.url_of(node)
        link = RedisLink(url, name="greenrun-slots", read_timeout=ANSWER_SECONDS, connect_timeout=ANSWER_SECONDS)
        try:
            link.open()
            raw: Any = link.call("CLUSTER", "SLOTS")
        finally:
            link.close()
        ranges = parse_cluster_slots(raw, current_host=node.rpartition(":")[0])
        nodes: list[str | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for (first, last), members in ranges.items():
            master = _address(*members["primary"])
            nodes[first : last + 1] = [master] * (last + 1 - first)
        self._nodes = nodes


def _address(host: str, port: int) -> str:
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"
