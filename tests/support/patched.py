"""Runs functions in a child Python patched by gevent, because the Python that runs pytest is not patched.

A scenario is a function of a module in a ``scenarios`` folder: its name is a sentence, it asserts what that says, and
it may take strings. A test runs it by its name:

    run_scenario("tests.unit.scenarios.bridge_life", "a_closed_bridge_refuses_coroutines", "hub")
"""

import ast
import faulthandler
import importlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dev.processes import kill_session
from tests.support.forking import CHECKOUT, warm_parent

# The longest that one scenario may run, in seconds; after that it prints where it hangs.
PATIENCE = 60.0


def run_scenario(module: str, name: str, *args: str, patience: float = PATIENCE) -> str:
    """Runs one scenario in a patched child and returns what it printed.

    Raises ``AssertionError``, with its output, when it failed or took longer than ``patience`` seconds.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        arguments = [str(patience), module, name, *args]
        descriptors = (output.fileno(), errors.fileno())
        child = warm_parent().fork(__name__, arguments, descriptors, CHECKOUT, dict(os.environ))
        try:
            code = child.wait(patience + 30)
        finally:
            kill_session(child)
        output.seek(0)
        errors.seek(0)
        printed = output.read().decode()
        if code != 0:
            raise AssertionError(f"{name} exited with {code}\n{printed}\n{errors.read().decode(errors='replace')}")
    return printed


def scenarios(module: str) -> list[str]:
    """The names of a module's scenarios (its public functions), read without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def eventually(condition: Callable[[], object], within: float = 10.0) -> None:
    """Waits until ``condition`` holds. Raises ``AssertionError`` after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


def _main(patience: str, module: str, name: str, *args: str) -> None:
    faulthandler.dump_traceback_later(float(patience), exit=True)
    getattr(importlib.import_module(module), name)(*args)
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()
    _main(*sys.argv[1:])
