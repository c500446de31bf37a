"""The requirement files: whole enough that what an index has beside them makes no difference."""

from __future__ import annotations

import re
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parents[2]
FILES = ["requirements.txt", "requirements-providers.txt", "requirements-start.txt", "requirements-dev.txt"]


def entries(name: str) -> list[str]:
    """The entries of a file, each on one line with its hashes."""
    text = (CHECKOUT / name).read_text()
    # An entry goes on over lines that end with a backslash.
    return [line for line in text.replace("\\\n", " ").splitlines() if line and not line.lstrip().startswith("#")]


def pins(name: str, python: str) -> dict[str, Requirement]:
    """What a file pins for a Python, by the names of packages."""
    found = [Requirement(entry.split("--hash")[0].strip()) for entry in entries(name)]
    return {
        canonicalize_name(pin.name): pin
        for pin in found
        if pin.marker is None or pin.marker.evaluate(environment(python))
    }


def environment(python: str) -> dict[str, str]:
    return {**{key: str(value) for key, value in default_environment().items()}, "python_version": python}


def needs(name: str, python: str) -> list[tuple[str, Requirement]]:
    """Which pinned package needs what on a Python. What this Python does not install has no metadata here."""
    installed = pins(name, "{}.{}".format(*sys.version_info[:2]))
    return [
        (asking, needed)
        for asking, pin in pins(name, python).items()
        if asking in installed
        for extra in ["", *pin.extras]
        for needed in map(Requirement, requires(asking) or [])
        if not needed.marker or needed.marker.evaluate({**environment(python), "extra": extra})
    ]


@pytest.mark.parametrize("name", FILES)
def test_every_requirement_is_pinned_with_hashes_and_names_no_registry(name: str) -> None:
    pinned = entries(name)

    assert pinned
    assert all(re.match(r"[a-z0-9._-]+(\[[a-z0-9, -]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", pin) for pin in pinned)
    assert not re.search(r"https?://|^-", (CHECKOUT / name).read_text(), re.MULTILINE)


def test_what_runs_in_production_is_tested_in_the_same_version() -> None:
    production, providers, start, dev = (
        {re.sub(r"\[[^]]*\]", "", pin).split()[0] for pin in entries(name)} for name in FILES
    )

    assert production < providers < start < dev


@pytest.mark.parametrize("python", ["3.11", "3.12"])
@pytest.mark.parametrize("name", FILES)
def test_every_extra_that_a_package_asks_for_is_in_the_pins(name: str, python: str) -> None:
    pinned = pins(name, python)
    asked = [(asking, needed) for asking, needed in needs(name, python) if needed.extras and needed.name != asking]

    # Without its extra a pin is no answer to who asks for it: pip would look for one in the index.
    missing = [
        f"{asking} asks for {needed}"
        for asking, needed in asked
        if not needed.extras <= pinned[canonicalize_name(needed.name)].extras
    ]

    assert asked or name == "requirements.txt", "no package asks for an extra: the test says nothing"
    assert missing == []


@pytest.mark.parametrize("python", ["3.11", "3.12"])
@pytest.mark.parametrize("name", FILES)
def test_everything_that_a_pinned_package_needs_is_pinned(name: str, python: str) -> None:
    versions = {package: str(pin.specifier).removeprefix("==") for package, pin in pins(name, python).items()}

    missing = [
        f"{asking} needs {needed}"
        for asking, needed in needs(name, python)
        if not needed.specifier.contains(versions.get(canonicalize_name(needed.name), "none"))
    ]

    assert missing == []
