"""Every file, class and method that the documentation names is there."""

from __future__ import annotations

import ast
import fnmatch
import os
import re
from functools import cache
from pathlib import Path

import pytest

from tests.unit.test_docs import CHECKOUT, PAGES, named, prose

FOREIGN_CLASSES = {
    "CredentialsValidateFailedError",  # what plugins raise
    "EventSource",  # of browsers
    "IntegrityError",  # of SQLAlchemy
    "InvokeRateLimitError",
    "ModelRetry",  # of Pydantic AI
    "SecretStr",  # of Pydantic
    "TimeoutStopSec",  # of systemd
    "WebSocket",
}
FOREIGN_MEMBERS = {"Agent.run"}  # of Pydantic AI
FOREIGN_FILES = {
    "dashboard.py",  # the reader's own
    "org/plugin/provider",
    "requirements/VERSION.txt",
}
NOT_OURS = {".git", ".greenrun", ".hypothesis", ".venv", "__pycache__", "node_modules"}
FOLDERS_MADE_LATER = (".greenrun/", ".venv/")

_CODE = re.compile(r"`([^`\n]+)`")
_FILE = re.compile(r"(?:[\w.-]+/)*[\w.-]+\.(?:py|lua|sh|toml|txt|json|md|html)|(?:[\w.-]+/)+[\w.-]*")
_CLASS = re.compile(r"[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+")
_MEMBER = re.compile(r"([A-Z]\w+)\.([a-z_]\w*)")
_TEST = re.compile(r"(?:…|test_)\w*…?|\w+…")
_NAME = re.compile(r"[a-z]\w*_\w+")


@cache
def files() -> list[str]:
    """The files of the checkout, which need not be one of git: CI runs in a copy."""
    found = []
    for folder, names, in_it in os.walk(CHECKOUT):
        names[:] = [name for name in names if name not in NOT_OURS]
        found += [named(Path(folder, name)) for name in in_it]
    return found


@cache
def code() -> dict[str, str]:
    """The text of each file of code, without this one."""
    names = [name for name in files() if name.endswith((".py", ".lua")) and name != named(Path(__file__))]
    return {name: (CHECKOUT / name).read_text() for name in names}


def members_of(name: str) -> set[str] | None:
    """The methods and attributes that a class of the checkout has itself; None where there is no such class."""
    texts = [text for text in code().values() if re.search(rf"^\s*class {name}\b", text, re.MULTILINE)]
    classes = [node for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    found = [part for node in classes if node.name == name for part in ast.walk(node)]
    if not found:
        return None
    methods = {part.name for part in found if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}
    attributes = {part.attr for part in found if isinstance(part, ast.Attribute)}
    return methods | attributes | {part.id for part in found if isinstance(part, ast.Name)}


@cache
def words_of_code() -> set[str]:
    """Every identifier and every word in a string of the code."""
    return set(re.findall(r"\w+", "\n".join(code().values())))


def spans(page: Path) -> list[str]:
    return _CODE.findall(prose(page))


def is_there(name: str, page: Path) -> bool:
    """Whether a file or folder is in the checkout: by its path, from the page, or by its name where it has no path."""
    if name in FOREIGN_FILES or name.startswith(FOLDERS_MADE_LATER):
        return True
    if (CHECKOUT / name).exists() or (page.parent / name).exists():
        return True
    return any(file.endswith(f"/{name}") or (f"/{name}" in file and name.endswith("/")) for file in files())


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    folders = {name.partition("/")[0] for name in files()}
    paths = [span for span in spans(page) if _FILE.fullmatch(span)]
    ours = [path for path in paths if path.partition("/")[0] in folders or path.endswith((".py", ".lua"))]

    assert [path for path in ours if not is_there(path, page)] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_class_and_member_that_a_page_names_is_there(page: Path) -> None:
    names = {span for span in spans(page) if _CLASS.fullmatch(span)} - FOREIGN_CLASSES
    dotted = {span.removesuffix("()") for span in spans(page)} - FOREIGN_MEMBERS
    members = [match.groups() for span in sorted(dotted) if (match := _MEMBER.fullmatch(span))]

    assert [name for name in sorted(names) if members_of(name) is None] == []
    assert [f"{name}.{member}" for name, member in members if member not in (members_of(name) or set())] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    text = "\n".join(text for name, text in code().items() if name.startswith("tests/"))
    tests = set(re.findall(r"def (test_\w+)\(", text))
    patterns = [span for span in spans(page) if _TEST.fullmatch(span)]

    assert [one for one in patterns if not fnmatch.filter(tests, one.replace("…", "*"))] == []


def test_every_name_that_the_page_for_developers_has_is_in_the_code() -> None:
    page = CHECKOUT / "docs/developing.md"
    names = [span.partition("(")[0].partition("=")[0] for span in spans(page)]

    assert [name for name in names if _NAME.fullmatch(name) and name not in words_of_code()] == []
