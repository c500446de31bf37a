"""Fixtures for the published clients of Dify's service API: a server with scripted models, on SQLite only."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.agent_client import AgentClient
from tests.support.databases import SQLITE
from tests.support.session_client import scripted_soul

NODE_FOLDER = Path(__file__).parent / "node"
INSTALL_SECONDS = 300

has_node = shutil.which("node") is not None and shutil.which("npm") is not None
needs_node = pytest.mark.skipif(not has_node, reason="node or npm is missing: apt-get install nodejs npm")


@pytest.fixture(scope="module")
def database_kind() -> str:
    """Only SQLite: differences between the databases are tested without these clients."""
    return SQLITE


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes proxy settings from the environment, which the clients would obey."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model name for this test alone. It includes the file, because tests of both clients have the same names."""
    return f"{request.module.__name__}.{request.node.name}"


@pytest.fixture
def base_url(roster: AgentClient) -> str:
    """The base URL, which besides the key is all that a client is given."""
    return f"{roster.url}/v1"


@pytest.fixture
def key(roster: AgentClient, model: str) -> str:
    """The key of an app for this test alone."""
    features = {"opening_statement": "How can I help?", "suggested_questions": ["What is new?"]}
    soul = scripted_soul(model, app_features=features)
    agent = roster.json("POST", "/agents", 201, json={"name": "Guide", "agent_soul": soul})
    made = roster.json("POST", "/keys", 201, json={"kind": "app", "agent_id": agent["id"]})
    return str(made["key"])


@pytest.fixture(scope="session")
def node_packages() -> None:
    """Installs the packages of ``node/package-lock.json`` when they are missing or older than that file."""
    wanted, installed = NODE_FOLDER / "package-lock.json", NODE_FOLDER / "node_modules" / ".package-lock.json"
    with wanted.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
            return
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=5"]
        done = subprocess.run(command, cwd=NODE_FOLDER, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
