"""Compares two Souls, and lists the changes as a person would describe them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.souls.soul import AgentSoulConfig
from services.souls.tools import DifyTool

MAX_CHANGES = 500
"""With more changes, each section that has changed counts as one change."""

_IDENTITY_KEYS = ("id", "name", "key", "contact_id", "human_id")
"""The keys by which things in a list are told apart; the first one that does so for all of them is used."""

_TOOLS = ("tools", "dify_tools")

Change = dict[str, Any]
Path = tuple[str | int, ...]


def soul_diff(old: AgentSoulConfig, new: AgentSoulConfig) -> list[Change]:
    """Returns the changes that lead from ``old`` to ``new``, in the order of their places; none when they are the same.

    Each is ``{"path", "op", "from"?, "to"?}`` with ``op`` ``add``, ``remove`` or ``replace``. ``path`` is a JSON
    Pointer into the new Soul, and into the old one when something was removed. Things in a list are the same when their
    identity is, wherever they stand; a list in which they have another order is replaced as a whole.
    """
    before, after = old.as_json(), new.as_json()
    changes: list[Change] = []
    for change in _changes(before, after, ()):
        changes.append(change)
        if len(changes) > MAX_CHANGES:
            return [_replaced((key,), before[key], after[key]) for key in before if not _same(before[key], after[key])]
    return changes


def _changes(old: Any, new: Any, path: Path) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _object_changes(old, new, path)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _list_changes(old, new, path)
    elif not _same(old, new):
        yield _replaced(path, old, new)


def _object_changes(old: Mapping[str, Any], new: Mapping[str, Any], path: Path) -> Iterator[Change]:
    for key in sorted({**old, **new}):
        if key not in new:
            yield _removed((*path, key), old[key])
        elif key not in old:
            yield _added((*path, key), new[key])
        else:
            yield from _changes(old[key], new[key], (*path, key))


def _list_changes(old: Sequence[Any], new: Sequence[Any], path: Path) -> Iterator[Change]:
    names = _identities(old, new, path)
    if names is None:
        yield from _plain_list_changes(old, new, path)
        return
    old_names, new_names = names
    old_at = {name: index for index, name in enumerate(old_names)}
    new_at = {name: index for index, name in enumerate(new_names)}
    if [name for name in old_names if name in new_at] != [name for name in new_names if name in old_at]:
        yield _replaced(path, old, new)
        return
    for index, name in enumerate(old_names):
        if name not in new_at:
            yield _removed((*path, index), old[index])
    for index, name in enumerate(new_names):
        if name not in old_at:
            yield _added((*path, index), new[index])
        else:
            yield from _changes(old[old_at[name]], new[index], (*path, index))


def _plain_list_changes(old: Sequence[Any], new: Sequence[Any], path: Path) -> Iterator[Change]:
    """Yields the changes of lists without identities: equal ends are skipped, the rest is paired in order."""
    shorter = min(len(old), len(new))
    start = next((index for index in range(shorter) if not _same(old[index], new[index])), shorter)
    rest = shorter - start
    end = next((back for back in range(rest) if not _same(old[-1 - back], new[-1 - back])), rest)
    old_end, new_end = len(old) - end, len(new) - end
    both = min(old_end, new_end)
    for index in range(start, both):
        yield from _changes(old[index], new[index], (*path, index))
    for index in range(both, old_end):
        yield _removed((*path, index), old[index])
    for index in range(both, new_end):
        yield _added((*path, index), new[index])


def _identities(old: Sequence[Any], new: Sequence[Any], path: Path) -> tuple[list[Any], list[Any]] | None:
    """Returns the identities of all things in both lists, or None when something in one of them has none of its own."""
    if path == _TOOLS:
        return _if_unique([_tool_identity(tool) for tool in old], [_tool_identity(tool) for tool in new])
    if not all(isinstance(thing, dict) for thing in (*old, *new)):
        return None
    for key in _IDENTITY_KEYS:
        names = [thing.get(key) for thing in old], [thing.get(key) for thing in new]
        if all(isinstance(name, str) for name in (*names[0], *names[1])) and _if_unique(*names) is not None:
            return names
    return None


def _if_unique(old: list[Any], new: list[Any]) -> tuple[list[Any], list[Any]] | None:
    return (old, new) if len(set(old)) == len(old) and len(set(new)) == len(new) else None


def _tool_identity(tool: Mapping[str, Any]) -> tuple[str, str, str]:
    return DifyTool.model_validate(tool).identity


def _same(old: Any, new: Any) -> bool:
    """Whether two JSON values are equal; in Python True equals 1 as well."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    return isinstance(old, bool) == isinstance(new, bool) and bool(old == new)


def _added(path: Path, new: Any) -> Change:
    return {"path": _pointer(path), "op": "add", "to": new}


def _removed(path: Path, old: Any) -> Change:
    return {"path": _pointer(path), "op": "remove", "from": old}


def _replaced(path: Path, old: Any, new: Any) -> Change:
    return {"path": _pointer(path), "op": "replace", "from": old, "to": new}


def _pointer(path: Path) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
