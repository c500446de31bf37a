"""The documentation says what the code says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from flask import Flask
from pydantic import AliasChoices, BaseModel, SecretStr

from app import init_app
from errors import GreenrunError
from runtime.composition.binding import bind_composition
from runtime.layers.registry import LAYER_TYPES
from runtime.protocol.dialects import Dialect, choose_dialect
from runtime.protocol.events import EventType
from runtime.protocol.records import RunStatus
from runtime.protocol.requests import CreateRunRequest
from settings import ENV_PREFIX, Settings
from tests.support.golden import FOLDER, run_requests

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
PAGES = [CHECKOUT / "README.md", *sorted(DOCS.rglob("*.md"))]
LAYER_PAGES = sorted((DOCS / "layers").glob("*.md"))

BRACES = str.maketrans("<>", "{}")

_SETTING_ROW = re.compile(r"^\| `(DIFY_AGENT_\w+)` \| (?:`(.*?)`|unset|empty) \|", re.MULTILINE)
_ALIAS_ROW = re.compile(r"^\| `(DIFY_AGENT_\w+)` \| `(DIFY_AGENT_\w+)` \|$", re.MULTILINE)
_EXAMPLE_LINE = re.compile(r"^#?(DIFY_AGENT_\w+)=(.*)$", re.MULTILINE)
_ERROR_ROW = re.compile(r"^\| (\d{3}) \| `(\w+)` \|", re.MULTILINE)
_ROUTE_ROW = re.compile(r"^\| `([A-Z]+ /\S*)` \|", re.MULTILINE)
_KEY_CELL = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \|", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def named(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


def names_of(field: str) -> list[str]:
    """The variables of a setting; the first is the one that wins."""
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [f"{ENV_PREFIX}{field.upper()}"]


def default_of(field: str) -> str:
    """The default of a setting as one would write it into a variable."""
    default = Settings.model_fields[field].default
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return "" if default is None else str(default)


def default_settings() -> dict[str, str]:
    return {names_of(field)[0]: default_of(field) for field in Settings.model_fields}


def error_classes(base: type[GreenrunError] = GreenrunError) -> Iterator[type[GreenrunError]]:
    yield base
    for derived in base.__subclasses__():
        yield from error_classes(derived)


def config_keys(config: type[BaseModel]) -> Iterator[str]:
    """The keys of a config, and of the objects in it."""
    for name, field in config.model_fields.items():
        yield name
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from config_keys(part)


def code_blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in _CODE_BLOCK.findall(page.read_text()) if found == language]


def prose(page: Path) -> str:
    return _CODE_BLOCK.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = [heading.lower() for heading in _HEADING.findall(prose(page))]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def layer_page(type_id: str) -> Path:
    pages = [page for page in LAYER_PAGES if f"`{type_id}`" in page.read_text().partition("\n")[0]]
    assert len(pages) == 1, f"{type_id} is in the title of {len(pages)} pages"
    return pages[0]


def test_every_setting_is_documented_with_its_default() -> None:
    page = (DOCS / "settings.md").read_text()
    documented = {name: default for name, default in _SETTING_ROW.findall(page) if (name, default) not in aliases(page)}

    assert documented == default_settings()


def aliases(page: str) -> set[tuple[str, str]]:
    return set(_ALIAS_ROW.findall(page))


def test_every_other_name_of_a_setting_is_documented() -> None:
    other_names = {(other, names_of(field)[0]) for field in Settings.model_fields for other in names_of(field)[1:]}

    assert aliases((DOCS / "settings.md").read_text()) == other_names


def test_the_example_of_the_environment_has_every_setting_with_its_default() -> None:
    lines = _EXAMPLE_LINE.findall((CHECKOUT / ".env.example").read_text())

    assert dict(lines) == default_settings()
    assert len(lines) == len(Settings.model_fields)


def test_every_route_is_documented() -> None:
    flask_app = Flask("documented")
    init_app(flask_app, Settings())
    rules = [
        rule for rule in flask_app.url_map.iter_rules() if rule.endpoint != "static" and not rule.rule.endswith("/")
    ]

    served = {
        f"{method} {rule.rule.translate(BRACES)}"
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert set(_ROUTE_ROW.findall((DOCS / "api.md").read_text())) == served


def test_every_error_is_documented_with_its_status() -> None:
    documented = _ERROR_ROW.findall((DOCS / "api.md").read_text())

    assert sorted(documented) == sorted((str(error.status), error.code) for error in error_classes())


@pytest.mark.parametrize("names", [EventType, RunStatus, Dialect])
def test_every_event_type_status_and_dialect_is_documented(names: type[EventType | RunStatus | Dialect]) -> None:
    page = (DOCS / "api.md").read_text()

    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("type_id", sorted(LAYER_TYPES))
def test_every_layer_type_has_a_page_that_names_its_keys(type_id: str) -> None:
    layer_type = LAYER_TYPES[type_id]
    text = layer_page(type_id).read_text()

    documented = {key.strip("`") for cell in _KEY_CELL.findall(text) for key in cell.split(", ")}
    keys = {*config_keys(layer_type.config_type), *(dependency.key for dependency in layer_type.dependencies)}

    assert keys - documented == set()
    assert layer_type.required_name is None or f"must be named `{layer_type.required_name}`" in text


def test_what_every_layer_class_says_of_its_config_is_documented() -> None:
    section = (DOCS / "security.md").read_text().partition("## What layers keep\n")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `([\w.]+)` \| (yes|no) \| (yes|no) \|$", section, re.MULTILINE)

    said = {True: "yes", False: "no"}
    assert documented == [
        (type_id, said[layer_type.config_may_last], said[layer_type.tells_identity])
        for type_id, layer_type in LAYER_TYPES.items()
    ]


@pytest.mark.parametrize("page", LAYER_PAGES, ids=named)
def test_a_layer_page_documents_no_unknown_key(page: Path) -> None:
    text = page.read_text()
    types = [layer_type for type_id, layer_type in LAYER_TYPES.items() if f"`{type_id}`" in text.partition("\n")[0]]

    documented = {key.strip("`") for cell in _KEY_CELL.findall(text) for key in cell.split(", ")}
    keys = {key for layer_type in types for key in config_keys(layer_type.config_type)}
    keys |= {dependency.key for layer_type in types for dependency in layer_type.dependencies}

    assert types
    assert documented - keys == set()


@pytest.mark.parametrize("page", LAYER_PAGES, ids=named)
def test_the_compositions_of_a_layer_page_can_run(page: Path) -> None:
    examples = [json.loads(block) for block in code_blocks(page, "json")]

    assert examples
    for example in examples:
        request = CreateRunRequest.model_validate(example)
        composition = bind_composition(
            request.composition,
            registry=LAYER_TYPES,
            on_exit=request.on_exit,
            snapshot=request.session_snapshot,
        )
        assert composition.user_prompts()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_blocks_of_json_are_json(page: Path) -> None:
    for block in code_blocks(page, "json"):
        value: Any = json.loads(block)
        assert isinstance(value, dict)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(prose(page)) if not re.match(r"[a-z]+:", link)]

    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


def test_the_readme_leads_to_every_page() -> None:
    readme = CHECKOUT / "README.md"
    linked = {(CHECKOUT / link).resolve() for link in _LINK.findall(readme.read_text()) if "://" not in link}

    assert {page for page in PAGES if page != readme} - linked == set()


def test_every_reserved_name_is_documented_with_its_types() -> None:
    reserved: dict[str, set[str]] = {}
    for layer_type in LAYER_TYPES.values():
        if name := layer_type.required_name or layer_type.reserved_name:
            reserved.setdefault(name, set()).add(layer_type.type_id)
    section = (DOCS / "api.md").read_text().partition("### Reserved names\n")[2].partition("\n#")[0]

    documented = dict(re.findall(r"^\| `(\w+)` \| (`.*`) \|", section, re.MULTILINE))

    assert {name: set(re.findall(r"`([\w.]+)`", types)) for name, types in documented.items()} == reserved


def test_the_table_of_difys_requests_is_true() -> None:
    rows = re.findall(
        r"^\| (\d{4}-\d\d-\d\d) \| (.+) \| `(.+)` \| (.+) \|$", (DOCS / "dify.md").read_text(), re.MULTILINE
    )
    documented = {
        f"{date}/{name}": (dialect, told)
        for date, names, dialect, told in rows
        for name in re.findall(r"`(.+?)`", names)
    }

    found = {}
    for golden in run_requests(*sorted(path.name for path in FOLDER.iterdir())):
        request = CreateRunRequest.model_validate(golden.body)
        runs = {layer.type for layer in request.composition.layers} <= set(LAYER_TYPES)
        found[str(golden)] = (choose_dialect(request).value, "run" if runs else "are refused")

    assert documented == found
