"""Environments with the Pydantic AI of Dify's published clients, and processes in them that work for tests."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Timer
from typing import Any

FOLDER = Path(__file__).parent
CHECKOUT = FOLDER.parents[2]
REQUIREMENTS = FOLDER / "requirements"
MADE_IN = CHECKOUT / ".greenrun" / "clients"
VERSIONS = ["1.85.1", "1.94.0", "1.107.0", "2.31.0"]
MAKE_SECONDS = 300.0
ANSWER_SECONDS = 120.0


class Libraries:
    """One process per version, started when first needed. The processes run ``inside/``."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Libraries:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.communicate(timeout=ANSWER_SECONDS)

    def ask(self, version: str, task: str, given: object = None) -> Any:
        """Runs a task of ``inside/__main__.py`` there: JSON in, JSON out. Raises ``AssertionError`` when it fails."""
        process = self._process(version)
        assert process.stdin is not None
        assert process.stdout is not None
        watchdog = Timer(ANSWER_SECONDS, process.kill)
        watchdog.start()
        try:
            process.stdin.write(json.dumps([task, given]) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        finally:
            watchdog.cancel()
        assert answer, f"the process of Pydantic AI {version} died; what it said of it is above"
        return json.loads(answer)

    def _process(self, version: str) -> subprocess.Popen[str]:
        if version not in self._processes:
            command = [str(python_of(version)), "-m", "tests.clients.pydantic_ai.inside"]
            self._processes[version] = subprocess.Popen(
                command, cwd=CHECKOUT, env={}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        return self._processes[version]


def python_of(version: str) -> Path:
    """The Python of that version's environment, which is created when missing or when its requirements have changed."""
    requirements = REQUIREMENTS / f"{version}.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    environment = MADE_IN / f"pydantic-ai-{version}-{digest}"
    python, whole = environment / "bin" / "python", environment / "is-whole"
    MADE_IN.mkdir(parents=True, exist_ok=True)
    with (MADE_IN / f"{environment.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(environment, ignore_errors=True)
            _uv("venv", "--python", sys.executable, str(environment))
            _uv("pip", "install", "--python", str(python), "--no-deps", "--require-hashes", "-r", str(requirements))
            whole.touch()
    return python


def _uv(*arguments: str) -> None:
    """Runs uv. Raises ``AssertionError`` with its output when it fails."""
    command = [str(Path(sys.executable).with_name("uv")), "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
