"""What the published clients of Dify's service API speak with: an app whose model is scripted, on SQLite alone."""

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
    """One is enough: what the databases may differ in is tested without these clients."""
    return SQLITE


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients would take a proxy of the machine on their way to the server."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model name of the test's own, by its file too: tests of both clients have the same names."""
    return f"{request.module.__name__}.{request.node.name}"


@pytest.fixture
def base_url(roster: AgentClient) -> str:
    """All that is set of a client, beside the key."""
    return f"{roster.url}/v1"


@pytest.fixture
def key(roster: AgentClient, model: str) -> str:
    """The key of an app of the test's own."""
    features = {"opening_statement": "How can I help?", "suggested_questions": ["What is new?"]}
    soul = scripted_soul(model, app_features=features)
    agent = roster.json("POST", "/agents", 201, json={"name": "Guide", "agent_soul": soul})
    made = roster.json("POST", "/keys", 201, json={"kind": "app", "agent_id": agent["id"]})
    return str(made["key"])


@pytest.fixture(scope="session")
def node_packages() -> None:
    """The packages of `node/package-lock.json`, installed when they are missing or older than it."""
    wanted, installed = NODE_FOLDER / "package-lock.json", NODE_FOLDER / "node_modules" / ".package-lock.json"
    with wanted.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
            return
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=5"]
        done = subprocess.run(command, cwd=NODE_FOLDER, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
