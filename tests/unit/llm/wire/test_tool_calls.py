"""Tool calls that arrive in fragments."""

from __future__ import annotations

import pytest

from runtime.llm.wire.errors import WireError
from runtime.llm.wire.tool_calls import ToolCallAssembler, ToolCallFragment

Calls = list[tuple[str, str, str]]


def assemble(*chunks: list[tuple[str, str, str]]) -> Calls:
    """The calls (id, name, arguments) that a consumer of the edits ends up with."""
    assembler = ToolCallAssembler()
    calls: dict[int, tuple[str, str, str]] = {}
    for chunk in chunks:
        for edit in assembler.feed([ToolCallFragment(*fragment) for fragment in chunk]):
            if edit.name:
                assert (edit.key in calls) == edit.replaces
                calls[edit.key] = (edit.id, edit.name, edit.arguments)
            else:
                call_id, name, arguments = calls[edit.key]
                calls[edit.key] = (call_id, name, arguments + edit.arguments)
    assembler.end()
    return list(calls.values())


def test_a_whole_call_is_one_call() -> None:
    assert assemble([("1", "f", '{"a":1}')]) == [("1", "f", '{"a":1}')]


def test_fragments_are_joined_by_id() -> None:
    calls = assemble([("1", "f", '{"a"'), ("2", "g", '{"b"')], [("2", "", ":2}"), ("1", "", ":1}")])

    assert calls == [("1", "f", '{"a":1}'), ("2", "g", '{"b":2}')]


def test_a_fragment_without_id_and_name_continues_the_last_call() -> None:
    calls = assemble([("1", "f", "")], [("", "", '{"a"')], [("2", "g", "{")], [("", "", "}")], [("1", "", ":1}")])

    assert calls == [("1", "f", '{"a":1}'), ("2", "g", "{}")]


def test_a_fragment_with_a_name_and_no_id_begins_a_call() -> None:
    calls = assemble([("", "f", "{")], [("", "", "}")], [("", "f", '{"second":true}')])

    assert [call[1:] for call in calls] == [("f", "{}"), ("f", '{"second":true}')]


def test_calls_without_id_get_ids_of_their_own() -> None:
    calls = assemble([("", "f", "{}"), ("", "g", "{}")], [("", "f", "{}")])

    ids = [call[0] for call in calls]
    assert all(ids)
    assert len(set(ids)) == 3


def test_a_name_that_is_repeated_with_its_id_is_not_doubled() -> None:
    assert assemble([("1", "f", "{")], [("1", "f", "}")]) == [("1", "f", "{}")]


def test_whole_arguments_after_whole_arguments_replace_them() -> None:
    assert assemble([("1", "f", '{"a":1}')], [("1", "f", '{"a":2}')]) == [("1", "f", '{"a":2}')]


def test_the_same_call_sent_again_changes_nothing() -> None:
    assembler = ToolCallAssembler()
    first = list(assembler.feed([ToolCallFragment("1", "f", "{}")]))
    second = list(assembler.feed([ToolCallFragment("1", "f", "{}")]))

    assert len(first) == 1
    assert second == []


def test_a_fragment_that_looks_whole_is_appended_while_the_rest_is_not() -> None:
    assert assemble([("1", "f", '{"a":')], [("1", "", '{"b":1}')], [("1", "", "}")]) == [("1", "f", '{"a":{"b":1}}')]


def test_one_id_for_two_calls_of_a_chunk_makes_two_calls() -> None:
    calls = assemble([("search", "search", '{"q":1}'), ("search", "search", '{"q":2}')])

    assert [call[1:] for call in calls] == [("search", '{"q":1}'), ("search", '{"q":2}')]
    assert calls[0][0] != calls[1][0]


def test_one_id_with_two_names_makes_two_calls() -> None:
    calls = assemble([("1", "f", "{}")], [("1", "g", "{")], [("1", "", "}")])

    assert [call[1:] for call in calls] == [("f", "{}"), ("g", "{}")]


def test_arguments_that_come_before_the_name_are_kept() -> None:
    assert assemble([("1", "", '{"a"')], [("1", "", ":1")], [("1", "f", "}")]) == [("1", "f", '{"a":1}')]


def test_empty_fragments_mean_nothing() -> None:
    assert assemble([("", "", "")], [("1", "f", "{}")], [("", "", "")]) == [("1", "f", "{}")]


def test_arguments_of_no_call_are_refused() -> None:
    with pytest.raises(WireError, match="fragment of no tool call"):
        assemble([("", "", "{}")])


def test_a_call_that_never_gets_a_name_is_refused() -> None:
    with pytest.raises(WireError, match="without a name"):
        assemble([("1", "", "{}")])
