"""The life of layers: entered in order, left in reverse, and snapshotted whatever happened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from runtime.composition.composition import Composition
from tests.unit.composition.fakes import HookFailed, bind, note, snapshot_of


class FromInside(Exception):
    """An error of the run itself."""


def live(composition: Composition, inside: Callable[[], None] = lambda: None) -> None:
    """Enter a composition, do something inside, and leave it."""

    async def scenario() -> None:
        async with composition.entered():
            inside()

    asyncio.run(scenario())


def hooks(notes: list[str]) -> list[str]:
    return [noted for noted in notes if not noted.endswith(".built")]


def states(composition: Composition) -> list[str]:
    return [entry.lifecycle_state.value for entry in composition.snapshot().layers]


def fail_inside() -> None:
    raise FromInside


def test_hooks_run_in_order_and_in_reverse_at_the_end(notes: list[str]) -> None:
    composition = bind(note("a"), note("b"), note("c"))

    live(composition, lambda: notes.append("inside"))

    assert hooks(notes) == ["a.create", "b.create", "c.create", "inside", "c.suspend", "b.suspend", "a.suspend"]


def test_new_layers_are_created_and_suspended_ones_resumed(notes: list[str]) -> None:
    composition = bind(note("a"), note("b"), snapshot=snapshot_of(("a", "suspended"), ("b", "new")))

    live(composition)

    assert hooks(notes)[:2] == ["a.resume", "b.create"]


def test_layers_are_active_inside(notes: list[str]) -> None:
    composition = bind(note("a"), note("b"))
    inside: list[str] = []

    live(composition, lambda: inside.extend(states(composition)))

    assert inside == ["active", "active"]
    assert states(composition) == ["suspended", "suspended"]


@pytest.mark.parametrize(
    ("on_exit", "left", "after"),
    [
        ({}, ["c.suspend", "b.suspend", "a.suspend"], ["suspended", "suspended", "suspended"]),
        ({"default": "delete"}, ["c.delete", "b.delete", "a.delete"], ["closed", "closed", "closed"]),
        ({"layers": {"b": "delete"}}, ["c.suspend", "b.delete", "a.suspend"], ["suspended", "closed", "suspended"]),
        (
            {"default": "delete", "layers": {"c": "suspend", "a": "delete"}},
            ["c.suspend", "b.delete", "a.delete"],
            ["closed", "closed", "suspended"],
        ),
    ],
    ids=["default", "delete all", "delete one", "keep one"],
)
def test_each_layer_exits_as_requested(notes: list[str], on_exit: Any, left: list[str], after: list[str]) -> None:
    composition = bind(note("a"), note("b"), note("c"), on_exit=on_exit)

    live(composition)

    assert hooks(notes)[3:] == left
    assert states(composition) == after


def test_dependencies_are_bound_before_any_hook(notes: list[str]) -> None:
    composition = bind(note("early", type="test.needy", deps={"note": "later"}), note("later"))
    seen: list[str] = []

    live(composition, lambda: seen.extend(dependency.name for dependency in composition.layers[0].deps.values()))

    assert seen == ["later"]


def test_a_snapshot_has_the_state_as_it_is_at_the_end(notes: list[str]) -> None:
    composition = bind(note("a", word="sk-canary"), snapshot=snapshot_of(("a", "suspended"), a={"seen": 5}))

    live(composition)

    assert composition.snapshot().model_dump(mode="json") == {
        "schema_version": 1,
        "layers": [{"name": "a", "lifecycle_state": "suspended", "runtime_state": {"seen": 7}}],
    }


def test_the_snapshot_of_one_run_is_where_the_next_begins(notes: list[str]) -> None:
    first = bind(note("a"), note("b"))
    live(first)

    second = bind(note("a"), note("b"), snapshot=first.snapshot().model_dump(mode="json"))
    live(second)

    assert hooks(notes)[4:6] == ["a.resume", "b.resume"]
    assert [layer.state.seen for layer in second.layers] == [4, 4]


def test_an_error_inside_is_raised_after_all_layers_were_left(notes: list[str]) -> None:
    composition = bind(note("a"), note("b"), on_exit={"layers": {"a": "delete"}})

    with pytest.raises(FromInside):
        live(composition, fail_inside)

    assert hooks(notes) == ["a.create", "b.create", "b.suspend", "a.delete"]
    assert states(composition) == ["closed", "suspended"]


def test_a_cancelled_run_leaves_its_layers(notes: list[str]) -> None:
    composition = bind(note("a"), note("b"))

    async def scenario() -> None:
        entered = asyncio.Event()

        async def run() -> None:
            async with composition.entered():
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(run())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())

    assert hooks(notes)[2:] == ["b.suspend", "a.suspend"]
    assert states(composition) == ["suspended", "suspended"]


@pytest.mark.parametrize(("snapshot", "hook"), [(None, "create"), ("suspended", "resume")])
def test_a_layer_that_fails_to_enter_leaves_those_before_it_in_reverse(
    notes: list[str], snapshot: str | None, hook: str
) -> None:
    composition = bind(
        note("a"),
        note("b"),
        note("c", fail_on=[hook]),
        note("d"),
        snapshot=snapshot and snapshot_of(*((name, snapshot) for name in "abcd")),
    )

    with pytest.raises(HookFailed, match=f"c.{hook}"):
        live(composition, lambda: notes.append("inside"))

    assert hooks(notes) == [f"a.{hook}", f"b.{hook}", f"c.{hook}", "b.suspend", "a.suspend"]
    assert states(composition) == ["suspended", "suspended", snapshot or "new", snapshot or "new"]


def test_the_error_of_a_failed_entry_is_kept_when_leaving_fails_too(notes: list[str]) -> None:
    composition = bind(note("a", fail_on=["suspend"]), note("b"), note("c", fail_on=["create"]))

    with pytest.raises(HookFailed, match=r"c\.create"):
        live(composition)

    assert hooks(notes)[3:] == ["b.suspend", "a.suspend"]


def test_all_exit_hooks_run_and_the_first_error_is_raised(notes: list[str], caplog: pytest.LogCaptureFixture) -> None:
    composition = bind(
        note("a", fail_on=["delete"]),
        note("b"),
        note("c", fail_on=["suspend"]),
        note("d"),
        on_exit={"layers": {"a": "delete"}},
    )

    with caplog.at_level(logging.WARNING), pytest.raises(HookFailed, match=r"c\.suspend"):
        live(composition)

    assert hooks(notes)[4:] == ["d.suspend", "c.suspend", "b.suspend", "a.delete"]
    assert [record.args and record.args[0] for record in caplog.records] == ["c", "a"]  # type: ignore[index]


def test_an_error_inside_comes_before_those_of_exit_hooks(notes: list[str]) -> None:
    composition = bind(note("a"), note("b", fail_on=["suspend"]))

    with pytest.raises(FromInside):
        live(composition, fail_inside)

    assert hooks(notes)[2:] == ["b.suspend", "a.suspend"]


def test_a_layer_whose_exit_hook_failed_is_neither_suspended_nor_closed(notes: list[str]) -> None:
    composition = bind(note("a"), note("b", fail_on=["delete"]), on_exit={"layers": {"b": "delete"}})

    with pytest.raises(HookFailed):
        live(composition)

    assert states(composition) == ["suspended", "active"]


def test_a_closed_layer_cannot_be_entered_again(notes: list[str]) -> None:
    composition = bind(note("a"), note("b"), on_exit={"layers": {"b": "delete"}})
    live(composition)

    with pytest.raises(RuntimeError, match="layer 'b' is closed"):
        live(composition)

    assert hooks(notes)[4:] == ["a.resume", "a.suspend"]


def test_closed_layers_that_are_passed_over_stay_closed_and_see_no_hook(notes: list[str]) -> None:
    snapshot = snapshot_of(("a", "suspended"), ("b", "closed"), ("c", "new"), b={"seen": 5})
    composition = bind(
        note("a"), note("b"), note("c"), snapshot=snapshot, on_exit={"default": "delete"}, pass_over_closed=True
    )

    live(composition)

    assert hooks(notes) == ["a.resume", "c.create", "c.delete", "a.delete"]
    assert states(composition) == ["closed", "closed", "closed"]
    assert composition.layers[1].state.seen == 5
