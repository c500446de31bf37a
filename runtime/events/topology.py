"""How this worker reaches Redis: one server, or the nodes of a cluster. Only the event modules know which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from runtime.events.cluster.feed import ClusterFeedStore
from runtime.events.cluster.links import KeyLink, NodeLinks
from runtime.events.cluster.log import ClusterLog
from runtime.events.cluster.requests import ClusterRequests
from runtime.events.cluster.slots import SlotMap, slot_of
from runtime.events.connections import Link, RedisLink
from runtime.events.feed import FeedSource, FeedStore
from runtime.events.hub import Hub
from runtime.events.keys import Keys
from runtime.events.log import READ_TIMEOUT_SECONDS as LOG_TIMEOUT_SECONDS
from runtime.events.log import EventLog, LogKeeper, log_greeting
from runtime.events.pipelined_connection import PipelinedConnection, Requests
from runtime.events.stream_reader import READ_TIMEOUT_SECONDS as HUB_TIMEOUT_SECONDS
from runtime.events.stream_reader import EntriesHandler, StreamReader

MakeLog = Callable[[Link], EventLog]


class Topology(Protocol):
    """Creates what communicates with Redis, over connections that are opened when they are needed."""

    @property
    def requests(self) -> Requests: ...

    def log(self, make: MakeLog) -> LogKeeper: ...

    def feed(self, hub: Hub) -> FeedSource: ...

    def group(self, stream: str) -> int: ...

    def reader(self, stream: str, on_entries: EntriesHandler) -> StreamReader: ...


class SingleServer:
    """One Redis server."""

    def __init__(self, url: str, keys: Keys) -> None:
        self._url = url
        self._keys = keys
        self.requests = PipelinedConnection(url, name="greenrun-requests")

    def log(self, make: MakeLog) -> EventLog:
        link = RedisLink(self._url, name="greenrun-log", read_timeout=LOG_TIMEOUT_SECONDS, greeting=log_greeting())
        return make(link)

    def feed(self, hub: Hub) -> FeedStore:
        return FeedStore(self.requests, self._keys)

    def group(self, stream: str) -> int:
        return 0

    def reader(self, stream: str, on_entries: EntriesHandler) -> StreamReader:
        link = RedisLink(self._url, name="greenrun-hub", read_timeout=HUB_TIMEOUT_SECONDS)
        return _reader(self.requests, link, stream, on_entries)


class Cluster:
    """The nodes of a Redis Cluster; ``url`` is that of any of them."""

    def __init__(self, url: str, keys: Keys) -> None:
        self._keys = keys
        self._slots = SlotMap(url)
        self.requests = ClusterRequests(self._slots, name="greenrun-requests")

    def log(self, make: MakeLog) -> ClusterLog:
        def make_link() -> NodeLinks:
            return NodeLinks(
                self._slots, name="greenrun-log", read_timeout=LOG_TIMEOUT_SECONDS, greeting=log_greeting()
            )

        return ClusterLog(self._slots, lambda: make(make_link()), self._keys.events)

    def feed(self, hub: Hub) -> ClusterFeedStore:
        return ClusterFeedStore(self.requests, self._keys, hub)

    def group(self, stream: str) -> int:
        """Returns the slot of a stream: one blocking read can only read streams of one slot."""
        return slot_of(stream)

    def reader(self, stream: str, on_entries: EntriesHandler) -> StreamReader:
        link = KeyLink(self._slots, stream, name="greenrun-hub", read_timeout=HUB_TIMEOUT_SECONDS)
        return _reader(self.requests, link, stream, on_entries)


def _reader(requests: Requests, link: Link, stream: str, on_entries: EntriesHandler) -> StreamReader:
    def unblock(connection_id: int) -> None:
        requests.unblock(stream, connection_id)

    return StreamReader(link, on_entries=on_entries, unblock=unblock)
