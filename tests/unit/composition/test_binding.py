"""Binding: what makes a composition runnable, and every reason why it is not."""

from __future__ import annotations

from typing import Any

import pytest

from errors import InvalidComposition
from runtime.protocol.snapshots import LifecycleState
from tests.unit.composition.fakes import NoteLayer, bind, note, snapshot_of

pytestmark = pytest.mark.usefixtures("notes")

CANARY = "sk-canary-7f3a9"


def refusal(*layers: dict[str, Any], **rest: Any) -> str:
    with pytest.raises(InvalidComposition) as caught:
        bind(*layers, **rest)
    assert caught.value.status == 422
    assert caught.value.detail == caught.value.message
    return caught.value.message


# What is built


def test_layers_are_built_in_order_with_their_names_and_configs() -> None:
    composition = bind(note("a", word="one"), note("b", word="two"))

    assert [(layer.name, layer.config.word) for layer in composition.layers] == [("a", "one"), ("b", "two")]


def test_binding_calls_no_hook(notes: list[str]) -> None:
    bind(note("a"), note("b"), snapshot=snapshot_of(("a", "suspended"), ("b", "new")))

    assert notes == ["a.built", "b.built"]


def test_no_layer_is_built_when_a_later_config_is_wrong(notes: list[str]) -> None:
    refusal(note("a"), note("b", word=1))

    assert notes == []


@pytest.mark.parametrize(
    "rest",
    [
        {"on_exit": {"layers": {"c": "delete"}}},
        {"snapshot": snapshot_of(("b", "new"), ("a", "new"))},
        {"snapshot": snapshot_of(("a", "new"), ("b", "new"), b={"seen": "often"})},
    ],
    ids=["on_exit", "snapshot", "state"],
)
def test_no_layer_is_built_for_a_refused_request(notes: list[str], rest: dict[str, Any]) -> None:
    refusal(note("a"), note("b"), **rest)

    assert notes == []


def test_two_bindings_share_no_layer() -> None:
    first, second = bind(note("a")), bind(note("a"))

    assert first.layers[0] is not second.layers[0]
    assert first.layers[0].state is not second.layers[0].state


def test_a_config_may_be_absent() -> None:
    layer = note("a") | {"config": None}

    assert bind(layer).layers[0].config == NoteLayer.config_type()


def test_a_dependency_may_stand_earlier_or_later() -> None:
    composition = bind(
        note("early", type="test.needy", deps={"note": "middle"}),
        note("middle"),
        note("late", type="test.needy", deps={"note": "middle"}),
    )

    early, middle, late = composition.layers
    assert early.deps == {"note": middle}
    assert middle.deps == {}
    assert late.deps == {"note": middle}


def test_an_optional_dependency_may_be_absent() -> None:
    assert bind(note("a")).layers[0].deps == {}


def test_a_state_is_restored_from_the_snapshot() -> None:
    composition = bind(note("a"), note("b"), snapshot=snapshot_of(("a", "suspended"), ("b", "new"), a={"seen": 7}))

    assert [layer.state.seen for layer in composition.layers] == [7, 0]
    assert [entry.lifecycle_state for entry in composition.snapshot().layers] == ["suspended", "new"]


def test_without_a_snapshot_every_layer_is_new() -> None:
    entries = bind(note("a"), note("b")).snapshot().layers

    assert [entry.lifecycle_state for entry in entries] == [LifecycleState.NEW] * 2


def test_an_empty_composition_can_be_bound() -> None:
    composition = bind(snapshot={"layers": []})

    assert composition.layers == []
    assert composition.snapshot().model_dump(mode="json") == {"schema_version": 1, "layers": []}


def test_a_layer_of_a_fixed_name_is_bound_under_that_name() -> None:
    assert bind(note("fixed", type="test.named")).layers[0].name == "fixed"


# What layers add up to


def test_system_prompts_are_prefixes_in_order_and_suffixes_in_reverse() -> None:
    composition = bind(
        note("a", prefix=["a1", "a2"], suffix=["a3", "a4"]),
        note("b", prefix=["b1"], suffix=["b2"]),
        note("c", suffix=["c1"]),
    )

    assert composition.system_prompts() == ["a1", "a2", "b1", "c1", "b2", "a3", "a4"]


def test_user_prompts_and_tools_are_in_layer_order() -> None:
    composition = bind(note("a", user=["one"], tool="first"), note("b", user=["two", "three"], tool="second"))

    assert composition.user_prompts() == ["one", "two", "three"]
    assert composition.tool_names() == ["first", "second"]


def test_the_secrets_of_all_layers_are_known() -> None:
    assert bind(note("a", word=CANARY), note("b"), note("c", word="other")).secrets() == [CANARY, "other"]


# What is refused


@pytest.mark.parametrize("version", [0, 2, -1])
def test_another_schema_version_is_refused(version: int) -> None:
    assert refusal(note("a"), schema_version=version) == f"composition.schema_version {version} is not supported"


@pytest.mark.parametrize("name", ["", " ", "\t\n"])
def test_an_empty_name_is_refused(name: str) -> None:
    assert refusal(note("a"), note(name)) == "a layer has an empty name"


def test_a_name_used_twice_is_refused() -> None:
    assert refusal(note("a"), note("b"), note("a")) == "layer name 'a' is used twice"


def test_an_unknown_type_is_refused() -> None:
    message = refusal(note("a", type="test.nothing"))

    assert "Layer type id 'test.nothing' is not registered." in message
    assert "layer 'a'" in message


def test_a_wrong_name_of_a_named_type_is_refused() -> None:
    assert (
        refusal(note("other", type="test.named")) == "layer 'other': a layer of type 'test.named' must be named 'fixed'"
    )


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (note("b", deps={"strange": "a"}), "layer 'b': type 'test.note' has no dependency 'strange'"),
        (note("b", deps={"other": "c"}), "layer 'b': dependency 'other' names no layer: 'c'"),
        (note("b", type="test.needy"), "layer 'b': dependency 'note' is missing"),
        (
            note("b", type="test.needy", deps={"note": "b"}),
            "layer 'b': dependency 'note' must be a layer of type 'test.note', but 'b' is 'test.needy'",
        ),
        (note("b", only_with_other=True), "layer 'b': it works only with another"),
    ],
    ids=["unknown key", "undefined target", "missing", "wrong type", "unfit"],
)
def test_a_bad_dependency_is_refused(layer: dict[str, Any], message: str) -> None:
    assert refusal(note("a"), layer) == message


@pytest.mark.parametrize(
    ("config", "place"), [({"word": 1}, "word"), ({"wrod": "x"}, "wrod"), ({"user": ["a", 2]}, "user.1")]
)
def test_a_bad_config_is_refused_with_its_place(config: dict[str, Any], place: str) -> None:
    assert refusal(note("a", **config)).startswith(f"layer 'a': config is invalid: {place}: ")


def test_a_refused_config_is_never_repeated() -> None:
    message = refusal(note("a", word=[CANARY], prefix=CANARY, unknown=CANARY, tool={"x": CANARY}))

    assert CANARY not in message


def test_a_refusal_shows_a_few_of_many_problems() -> None:
    assert len(refusal(note("a", user=list(range(1000))))) < 1000


def test_a_config_of_a_million_problems_is_refused_with_their_number() -> None:
    assert refusal(note("a", user=[0] * 100_000)) == "layer 'a': config is invalid: 100000 problems"


def test_an_exit_of_an_unknown_layer_is_refused() -> None:
    assert (
        refusal(note("a"), on_exit={"layers": {"a": "delete", "b": "delete"}}) == "on_exit.layers names no layer: 'b'"
    )


def test_a_tool_name_used_twice_is_refused() -> None:
    assert refusal(note("a", tool="same"), note("b", tool="same")) == "tool name 'same' is used twice"


@pytest.mark.parametrize("version", [0, 2])
def test_a_snapshot_of_another_version_is_refused(version: int) -> None:
    snapshot = {**snapshot_of(("a", "new")), "schema_version": version}

    assert refusal(note("a"), snapshot=snapshot) == f"session_snapshot.schema_version {version} is not supported"


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [("a", "new")],
        [("b", "new"), ("a", "new")],
        [("a", "new"), ("b", "new"), ("c", "new")],
        [("a", "new"), ("c", "new")],
        [("a", "new"), ("a", "new")],
    ],
    ids=["none", "fewer", "order", "more", "other", "double"],
)
def test_a_snapshot_of_other_layers_is_refused(entries: list[tuple[str, str]]) -> None:
    message = refusal(note("a"), note("b"), snapshot=snapshot_of(*entries))

    assert message == "session_snapshot must have the layers of the composition, in the same order"


@pytest.mark.parametrize("state", ["active", "closed"])
def test_a_layer_that_cannot_be_entered_is_refused(state: str) -> None:
    message = refusal(note("a"), note("b"), snapshot=snapshot_of(("a", "suspended"), ("b", state)))

    assert message == f"session_snapshot: layer 'b' is '{state}' and cannot be entered"


def test_an_active_layer_is_refused_where_closed_ones_are_passed_over() -> None:
    snapshot = snapshot_of(("a", "closed"), ("b", "active"))

    message = refusal(note("a"), note("b"), snapshot=snapshot, pass_over_closed=True)

    assert message == "session_snapshot: layer 'b' is 'active' and cannot be entered"


def test_a_bad_runtime_state_is_refused_without_repeating_it() -> None:
    message = refusal(note("a"), snapshot=snapshot_of(("a", "suspended"), a={"seen": CANARY}))

    assert message.startswith("session_snapshot: layer 'a': runtime_state is invalid: seen: ")
    assert CANARY not in message
