"""Links to the nodes of a Redis Cluster. Each command goes to the node of its key, wherever that has moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from runtime.events.cluster.slots import SlotMap
from runtime.events.connections import LINK_ERRORS, Command, RedisLink

MAX_ROUNDS = 5
"""How often commands are sent on; after that they count as refused for now."""


class OnFailure(Enum):
    """What becomes of commands for a node that cannot be reached; some of them may have been done."""

    RAISE = "raise"
    SEND_AGAIN = "send again"
    """To the node that has taken its place, if there is one and this one was not just silent. Otherwise raise."""
    REFUSE = "refuse"
    """They count as refused for now, and nothing is raised."""


NodeSender = Callable[[str, Sequence[Command]], list[Any]]
"""Sends commands to one node: the answers in order. Raises one of LINK_ERRORS."""


def key_of(command: Command) -> str:
    """The first key of a command; every key of one command has the same slot."""
    return str(command[3 if command[0] in ("EVAL", "EVALSHA") else 1])


def send_by_key(
    slots: SlotMap,
    commands: Sequence[Command],
    send: NodeSender,
    *,
    on_failure: OnFailure,
    is_away: Callable[[str], bool] = lambda node: False,
) -> list[Any]:
    """Send each command to the node of its key, and those that have moved after it, in their order.

    The answers are those of ``RedisLink.call_all``. Raises one of LINK_ERRORS when a node cannot be reached, unless
    ``on_failure`` says otherwise, and always when no node can. Nodes that are perhaps away have their turn last.
    """
    answers: list[Any] = [None] * len(commands)
    asking: dict[int, str] = {}
    waiting = list(range(len(commands)))
    for _ in range(MAX_ROUNDS):
        by_node: dict[str, list[int]] = {}
        for index in waiting:
            node = asking.get(index) or slots.node_of(key_of(commands[index]))
            by_node.setdefault(node, []).append(index)
        waiting = []
        for node, indexes in sorted(by_node.items(), key=lambda item: is_away(item[0])):
            marked = [(commands[index], index in asking) for index in indexes]
            found, is_replaced = _try_node(slots, node, marked, send, on_failure)
            for index, answer in zip(indexes, found, strict=True):
                asking.pop(index, None)
                answers[index] = answer
                if isinstance(answer, AskError):
                    _follow(slots, answer, node, index, asking)
                if is_replaced or isinstance(answer, AskError):
                    waiting.append(index)
        if not waiting:
            break
        waiting.sort()
    return [TryAgainError(str(answer)) if isinstance(answer, AskError) else answer for answer in answers]


def _try_node(
    slots: SlotMap, node: str, commands: Sequence[tuple[Command, bool]], send: NodeSender, on_failure: OnFailure
) -> tuple[list[Any], bool]:
    """The answers of one node, and whether the commands should be sent to the one that has taken its place.

    Raises one of LINK_ERRORS.
    """
    seen = slots.version
    try:
        answers = _send(node, commands, send)
    except LINK_ERRORS as error:
        slots.look_again(seen, avoid=node)
        is_replaced = (
            on_failure is OnFailure.SEND_AGAIN
            and not isinstance(error, RedisTimeoutError)
            and all(slots.node_of(key_of(command)) != node for command, _ in commands)
        )
        if not is_replaced and on_failure is not OnFailure.REFUSE:
            raise
        return [TryAgainError("its node is away")] * len(commands), is_replaced
    if any(isinstance(answer, ClusterDownError) for answer in answers):
        slots.look_again(seen, avoid=node)
    return answers, False


def _send(node: str, commands: Sequence[tuple[Command, bool]], send: NodeSender) -> list[Any]:
    """Send commands, those that are marked with leave to be taken by the node that gets their slot."""
    sent: list[Command] = []
    wanted: list[int] = []
    for command, is_asking in commands:
        if is_asking:
            sent.append(("ASKING",))
        wanted.append(len(sent))
        sent.append(command)
    answers = send(node, sent)
    return [answers[place] for place in wanted]


def _follow(slots: SlotMap, redirection: AskError, node: str, index: int, asking: dict[int, str]) -> None:
    if isinstance(redirection, MovedError):
        slots.move(redirection, asked=node)
    else:
        asking[index] = slots.target_of(redirection, asked=node)


class NodeLinks:
    """A ``Link`` to a whole cluster, by a connection to each node that is needed."""

    is_open = True

    def __init__(
        self,
        slots: SlotMap,
        *,
        name: str,
        read_timeout: float,
        greeting: Sequence[Command] = (),
        on_failure: OnFailure = OnFailure.RAISE,
    ) -> None:
        self._slots = slots
        self._name = name
        self._read_timeout = read_timeout
        self._greeting = greeting
        self._on_failure = on_failure
        self._links: dict[str, RedisLink] = {}

    def open(self) -> None:
        """Nothing: each node is connected to when there is something for it."""

    def call(self, *command: str | bytes | int) -> Any:
        """The answer to one command. Raises ResponseError or one of LINK_ERRORS."""
        answer = self.call_all([command])[0]
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    def call_all(self, commands: Sequence[Command]) -> list[Any]:
        """As of one connection; commands for different nodes are not in order. Raises one of LINK_ERRORS."""
        return send_by_key(self._slots, commands, self._send, on_failure=self._on_failure, is_away=self._is_away)

    def close(self) -> None:
        """Drop all connections."""
        for link in list(self._links.values()):
            link.close()
        self._links.clear()

    def _is_away(self, node: str) -> bool:
        return node not in self._links or not self._links[node].is_open

    def _send(self, node: str, commands: Sequence[Command]) -> list[Any]:
        if node not in self._links:
            self._links[node] = RedisLink(
                self._slots.url_of(node), name=self._name, read_timeout=self._read_timeout, greeting=self._greeting
            )
        link = self._links[node]
        try:
            if not link.is_open:
                link.open()
            return link.call_all(commands)
        except (*LINK_ERRORS, ResponseError):
            link.close()
            raise


class KeyLink:
    """A ``Link`` to the node of one key, for commands that wait. When the key moves it is lost like a connection."""

    def __init__(self, slots: SlotMap, key: str, *, name: str, read_timeout: float) -> None:
        self._slots = slots
        self._key = key
        self._name = name
        self._read_timeout = read_timeout
        self._node = ""
        self._link: RedisLink | None = None

    @property
    def is_open(self) -> bool:
        return self._link is not None and self._link.is_open

    def open(self) -> None:
        """Connect. Raises one of LINK_ERRORS."""
        seen = self._slots.version
        self._node = self._slots.node_of(self._key)
        self._link = RedisLink(self._slots.url_of(self._node), name=self._name, read_timeout=self._read_timeout)
        try:
            self._link.open()
        except LINK_ERRORS:
            self._slots.look_again(seen, avoid=self._node)
            raise

    def call(self, *command: str | bytes | int) -> Any:
        """The answer to one command. Raises ResponseError or one of LINK_ERRORS."""
        answer = self.call_all([command])[0]
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    def call_all(self, commands: Sequence[Command]) -> list[Any]:
        """As of one connection. Raises one of LINK_ERRORS."""
        if self._link is None:
            raise RedisConnectionError("not connected")
        seen = self._slots.version
        try:
            answers = self._link.call_all(commands)
        except LINK_ERRORS:
            self._slots.look_again(seen, avoid=self._node)
            raise
        for answer in answers:
            if isinstance(answer, MovedError):
                self._slots.move(answer, asked=self._node)
                raise RedisConnectionError("the slot has moved") from answer
        return answers

    def close(self) -> None:
        """Drop the connection."""
        if self._link is not None:
            self._link.close()
