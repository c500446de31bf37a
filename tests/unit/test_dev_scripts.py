"""The scripts, and the plugin that forbids skips."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    "script",
    [
        ".ci/run",
        "dev/bench",
        "dev/lint",
        "dev/pin",
        "dev/setup",
        "dev/soak",
        "dev/start",
        "dev/test",
        "dev/try-provider",
    ],
)
def test_a_script_can_be_run_and_parses(script: str) -> None:
    path = CHECKOUT / script

    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.mark.parametrize(
    ("tests", "lint", "code"),
    [(0, 0, 0), (0, 1, 1), (3, 0, 3), (3, 1, 3)],
    ids=["both pass", "lint fails", "a test fails", "both fail"],
)
def test_dev_test_ends_with_what_the_tests_and_the_lint_say(tests: int, lint: int, code: int, tmp_path: Path) -> None:
    scripts = {
        "dev/setup": "exit 0",
        "dev/uv-index": "",
        "dev/lint": f"echo linted; exit {lint}",
        ".venv/bin/python": f"exit {tests}",
    }
    for name, body in scripts.items():
        script = tmp_path / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"#!/usr/bin/env bash\n{body}\n")
        script.chmod(0o755)
    shutil.copy(CHECKOUT / "dev/test", tmp_path / "dev/test")

    ended = subprocess.run([tmp_path / "dev/test"], capture_output=True, text=True, timeout=30)

    assert (ended.returncode, ended.stdout) == (code, "linted\n")


@pytest.mark.parametrize(
    "skipping",
    [
        "import pytest\ndef test_it(): pytest.skip('no browser')",
        "import pytest\n@pytest.mark.skip(reason='no browser')\ndef test_it(): pass",
        "import pytest\npytest.skip('no browser', allow_module_level=True)",
    ],
    ids=["inside a test", "by a mark", "a whole file"],
)
def test_a_skipped_test_fails_only_in_ci(
    skipping: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(skipping)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    arguments = ["-p", "tests.support.no_skips", "-p", "no:cacheprovider"]

    monkeypatch.delenv("CI", raising=False)
    here = pytester.runpytest_subprocess(*arguments)
    monkeypatch.setenv("CI", "true")
    in_ci = pytester.runpytest_subprocess(*arguments)

    assert here.ret in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    assert in_ci.ret in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}
    in_ci.stdout.fnmatch_lines(["*fails in CI: *no browser*"])


@pytest.mark.parametrize(
    "skipping",
    ["import pytest\ndef test_it(): pytest.skip('no browser')", "import pytest\npytest.importorskip('no_browser')"],
    ids=["inside a test", "a whole file"],
)
def test_a_skipped_test_fails_in_ci_when_tests_run_in_several_processes(
    skipping: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(skipping)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.setenv("CI", "true")

    result = pytester.runpytest_subprocess("-p", "tests.support.no_skips", "-p", "no:cacheprovider", "-n", "2")

    assert result.ret in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}
    result.stdout.fnmatch_lines(["*fails in CI: *no?browser*"])


def test_an_expected_failure_remains_one_in_ci(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.xfail\ndef test_it(): assert False")
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.setenv("CI", "true")

    result = pytester.runpytest_subprocess("-p", "tests.support.no_skips", "-p", "no:cacheprovider")

    result.assert_outcomes(xfailed=1)
    assert result.ret == pytest.ExitCode.OK
