"""The difference of two Souls."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.souls import digest_of, parse_soul, soul_diff
from services.souls.diff import MAX_CHANGES
from tests.unit.souls.documents import DEMO, SEARCH

IMAGES = {**SEARCH, "tool_name": "google_images"}
NEWS = {**SEARCH, "tool_name": "google_news"}

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "x/y", "z~"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def diff(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    return soul_diff(parse_soul(old), parse_soul(new))


def with_tools(*tools: dict[str, Any]) -> dict[str, Any]:
    return {"tools": {"dify_tools": list(tools)}}


def value_at(document: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document


def test_the_same_souls_have_no_difference() -> None:
    assert diff({"model": DEMO, **with_tools(SEARCH)}, {"model": DEMO, **with_tools(SEARCH)}) == []


def test_a_changed_text_is_replaced_at_its_place() -> None:
    assert diff({"prompt": {"system_prompt": "Be brief."}}, {"prompt": {"system_prompt": "Be kind."}}) == [
        {"path": "/prompt/system_prompt", "op": "replace", "from": "Be brief.", "to": "Be kind."}
    ]


def test_keys_are_added_and_removed_with_their_pointers() -> None:
    old = {"misc_legacy": {"a/b": 1, "same": 0}}
    new = {"misc_legacy": {"c~d": 2, "same": 0}}

    assert diff(old, new) == [
        {"path": "/misc_legacy/a~1b", "op": "remove", "from": 1},
        {"path": "/misc_legacy/c~0d", "op": "add", "to": 2},
    ]


def test_a_tool_is_the_same_wherever_it_stands() -> None:
    changes = diff(with_tools(SEARCH, IMAGES, NEWS), with_tools(SEARCH, {**NEWS, "enabled": False}))

    assert [(change["op"], change["path"]) for change in changes] == [
        ("remove", "/tools/dify_tools/1"),
        ("replace", "/tools/dify_tools/1/enabled"),
    ]
    assert changes[0]["from"]["tool_name"] == "google_images"


def test_the_two_forms_of_a_provider_are_the_same_tool() -> None:
    bare = {key: value for key, value in SEARCH.items() if key != "provider_id"}
    other_form = {**bare, "plugin_id": "langgenius/google", "provider": "google"}

    assert [change["path"] for change in diff(with_tools(SEARCH), with_tools(other_form))] == [
        "/tools/dify_tools/0/plugin_id",
        "/tools/dify_tools/0/provider",
        "/tools/dify_tools/0/provider_id",
    ]


def test_another_order_of_tools_replaces_the_list() -> None:
    changes = diff(with_tools(SEARCH, NEWS), with_tools(NEWS, SEARCH))

    assert [(change["op"], change["path"]) for change in changes] == [("replace", "/tools/dify_tools")]


def test_things_with_a_name_are_told_apart_by_it() -> None:
    first, second = {"name": "city", "type": "text"}, {"name": "days", "type": "number"}

    assert [
        (change["op"], change["path"])
        for change in diff({"app_variables": [first, second]}, {"app_variables": [{**second, "required": True}]})
    ] == [("remove", "/app_variables/0"), ("replace", "/app_variables/0/required")]


def test_lists_without_identity_keep_what_is_the_same_at_their_ends() -> None:
    assert diff({"misc_legacy": {"l": [1, 2, 9]}}, {"misc_legacy": {"l": [1, 2, 3, 4, 9]}}) == [
        {"path": "/misc_legacy/l/2", "op": "add", "to": 3},
        {"path": "/misc_legacy/l/3", "op": "add", "to": 4},
    ]


def test_true_differs_from_1() -> None:
    assert [change["to"] for change in diff({"misc_legacy": {"a": 1}}, {"misc_legacy": {"a": True}})] == [True]


def test_very_many_changes_become_one_change_of_their_section() -> None:
    old = {"misc_legacy": {str(number): 0 for number in range(MAX_CHANGES + 1)}, "prompt": {"system_prompt": "same"}}
    new = {"misc_legacy": {}, "prompt": {"system_prompt": "same"}}

    assert [(change["op"], change["path"]) for change in diff(old, new)] == [("replace", "/misc_legacy")]


@given(VALUES, VALUES)
def test_every_change_is_true_of_both_souls(before: Any, after: Any) -> None:
    old, new = parse_soul({"misc_legacy": {"v": before}}), parse_soul({"misc_legacy": {"v": after}})

    changes = soul_diff(old, new)

    assert (changes == []) == (digest_of(old.as_json()) == digest_of(new.as_json()))
    for change in changes:
        if change["op"] == "remove":
            assert value_at(old.as_json(), change["path"]) == change["from"]
        else:
            assert value_at(new.as_json(), change["path"]) == change["to"]
    assert soul_diff(old, new) == changes
