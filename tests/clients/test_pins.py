"""The npm packages of the Node tests are pinned like everything else."""

from __future__ import annotations

import json

from tests.clients.conftest import NODE_FOLDER


def test_every_npm_package_is_pinned_with_a_hash_and_names_no_registry() -> None:
    lock = json.loads((NODE_FOLDER / "package-lock.json").read_text())
    root, packages = lock["packages"].pop(""), lock["packages"]

    assert root["dependencies"] == {"dify-client": packages["node_modules/dify-client"]["version"]}
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
