"""Commands for a Redis Cluster: which node each goes to, and what becomes of those that have moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from redis.exceptions import AskError, MovedError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from runtime.events.cluster.links import OnFailure, key_of, send_by_key
from runtime.events.cluster.slots import SlotMap, slot_of
from runtime.events.connections import Command, is_passing

Answer = Callable[[Command], Any]

A, B = "10.0.0.1:6379", "10.0.0.2:6379"


class Nodes:
    """Nodes with scripted answers; ``sent`` has the commands that they received."""

    def __init__(self, **answers: Answer) -> None:
        self.slots = SlotMap(f"redis://{A}/0")
        self.slots._nodes = [A] * len(self.slots._nodes)
        self.slots.version = 1
        self.sent: list[tuple[str, Command]] = []
        self._answers = {A: answers["a"], B: answers["b"]}

    def send(self, node: str, commands: Sequence[Command]) -> list[Any]:
        self.sent += [(node, command) for command in commands]
        return [self._answers[node](command) for command in commands]


def ok(command: Command) -> bytes:
    return b"OK"


def moved(key: str) -> Answer:
    return lambda command: MovedError(f"{slot_of(key)} {B}") if key_of(command) == key else ok(command)


def get(key: str) -> Command:
    return ("GET", key)


def test_a_url_of_a_node_keeps_the_scheme_the_credentials_and_the_options() -> None:
    slots = SlotMap("rediss://user:p%40ss@seed.example:6380/0?ssl_check_hostname=false")

    assert slots.url_of("10.0.0.9:7001") == "rediss://user:p%40ss@10.0.0.9:7001/0?ssl_check_hostname=false"
    assert slots.url_of("[::1]:7001") == "rediss://user:p%40ss@[::1]:7001/0?ssl_check_hostname=false"


def test_a_redirection_without_a_host_leads_to_the_host_that_was_asked() -> None:
    slots = SlotMap(f"redis://{A}")

    assert slots.target_of(MovedError("1 :7001"), asked=A) == "10.0.0.1:7001"
    assert slots.target_of(MovedError("1 ::1:7001"), asked=A) == "[::1]:7001"


def test_the_key_of_a_script_is_the_first_of_its_keys() -> None:
    assert key_of(("EVALSHA", "sha", 2, "one", "two", "argument")) == "one"
    assert key_of(("XADD", "stream", "*", "field", "value")) == "stream"


def test_commands_whose_slot_has_moved_follow_it_in_their_order_and_the_next_go_there_at_once() -> None:
    nodes = Nodes(a=moved("gone"), b=ok)
    commands = [get("here"), ("SET", "gone", 1), ("SET", "gone", 2)]

    assert send_by_key(nodes.slots, commands, nodes.send, on_failure=OnFailure.RAISE) == [b"OK"] * 3
    assert nodes.sent == [*((A, command) for command in commands), (B, commands[1]), (B, commands[2])]
    send_by_key(nodes.slots, [get("gone")], nodes.send, on_failure=OnFailure.RAISE)
    assert nodes.sent[-1] == (B, get("gone"))


def test_a_command_with_an_ask_redirection_follows_it_only_once() -> None:
    nodes = Nodes(a=lambda command: AskError(f"{slot_of('key')} {B}"), b=ok)

    assert send_by_key(nodes.slots, [get("key")], nodes.send, on_failure=OnFailure.RAISE) == [b"OK"]
    assert nodes.sent == [(A, get("key")), (B, ("ASKING",)), (B, get("key"))]
    assert nodes.slots.node_of("key") == A


def test_commands_that_are_redirected_again_and_again_count_as_refused_for_now() -> None:
    back = MovedError(f"{slot_of('key')} {A}")
    nodes = Nodes(a=moved("key"), b=lambda command: back)

    (answer,) = send_by_key(nodes.slots, [get("key")], nodes.send, on_failure=OnFailure.RAISE)

    assert isinstance(answer, ResponseError)
    assert is_passing(answer)


def lost(command: Command) -> Any:
    raise RedisConnectionError("lost")


def test_a_node_that_is_away_fails_all_or_its_own_commands_alone_as_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(a=lost, b=ok)
    nodes.slots._nodes[slot_of("other")] = B
    monkeypatch.setattr(nodes.slots, "look_again", lambda seen, avoid: None)

    for on_failure in (OnFailure.RAISE, OnFailure.SEND_AGAIN):
        with pytest.raises(RedisConnectionError):
            send_by_key(nodes.slots, [get("key"), get("other")], nodes.send, on_failure=on_failure)
    refused, answered = send_by_key(nodes.slots, [get("key"), get("other")], nodes.send, on_failure=OnFailure.REFUSE)

    assert isinstance(refused, TryAgainError)
    assert answered == b"OK"


def test_commands_for_a_replaced_node_are_sent_to_its_replacement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = Nodes(a=lost, b=ok)

    def replace(seen: int, avoid: str) -> None:
        nodes.slots._nodes = [B] * len(nodes.slots._nodes)

    monkeypatch.setattr(nodes.slots, "look_again", replace)

    assert send_by_key(nodes.slots, [get("key")], nodes.send, on_failure=OnFailure.SEND_AGAIN) == [b"OK"]
