"""The connections that all requests of a worker share when Redis is a cluster: one to each node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.events.cluster.links import OnFailure, send_by_key
from runtime.events.cluster.slots import SlotMap
from runtime.events.connections import Command
from runtime.events.pipelined_connection import PipelinedConnection


class ClusterRequests:
    """Asks for many greenlets at once, as ``PipelinedConnection`` does. Each command goes to the node of its key."""

    def __init__(self, slots: SlotMap, *, name: str) -> None:
        self._slots = slots
        self._name = name
        self._links: dict[str, PipelinedConnection] = {}

    def start(self) -> None:
        """Nothing: each node is connected to when there is something for it."""

    def ask(self, *commands: Command, is_lenient: bool = False) -> list[Any]:
        """The answers in order, with a refused command's error as its answer.

        Commands may be repeated, as by ``PipelinedConnection``. When ``is_lenient``, those for a node that cannot be
        reached count as refused. Raises one of LINK_ERRORS.
        """
        on_failure = OnFailure.REFUSE if is_lenient else OnFailure.SEND_AGAIN
        return send_by_key(self._slots, commands, self._send, on_failure=on_failure)

    def ping(self) -> None:
        """Ask every node for a sign of life. Raises one of LINK_ERRORS."""
        seen = self._slots.version
        for node in self._slots.nodes:
            try:
                self._send(node, [("PING",)])
            except Exception:
                self._slots.look_again(seen, avoid=node)
                raise

    def unblock(self, stream: str, connection_id: int) -> None:
        """Let a connection that waits for a stream return at once. Raises one of LINK_ERRORS."""
        self._send(self._slots.node_of(stream), [("CLIENT", "UNBLOCK", connection_id)])

    def close(self) -> None:
        """Stop; who still waits gets a ConnectionError."""
        for link in list(self._links.values()):
            link.close()

    def _send(self, node: str, commands: Sequence[Command]) -> list[Any]:
        if node not in self._links:
            self._links[node] = link = PipelinedConnection(self._slots.url_of(node), name=self._name)
            link.start()
        return self._links[node].ask(*commands)
