"""The event loops that share a thread with greenlets. Every scenario runs in a Python that gevent has patched."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.patched import run_scenario, scenarios

LOOP = "tests.unit.scenarios.loop"
HUB = "tests.unit.scenarios.hub"
TLS = "tests.unit.scenarios.tls"
EXITS = "an_exit_raised_by_a_callback_leaves_the_loop_usable"


@pytest.mark.parametrize("kind", ["hub", "selector"])
@pytest.mark.parametrize("scenario", scenarios(LOOP))
def test_on_either_loop(scenario: str, kind: str) -> None:
    run_scenario(LOOP, scenario, kind)


@pytest.mark.parametrize("scenario", [name for name in scenarios(HUB) if name != EXITS])
def test_on_the_hub_loop(scenario: str) -> None:
    run_scenario(HUB, scenario)


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "SystemExit"])
def test_an_exit_raised_by_a_callback_leaves_the_loop_usable(error: str) -> None:
    run_scenario(HUB, EXITS, error)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is needed to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -out {certificate} -keyout {key}"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([openssl, *command.split(), *names], check=True, capture_output=True, timeout=60)
    return certificate, key


@pytest.mark.parametrize("kind", ["hub", "selector"])
def test_https_is_spoken_with_a_server_of_the_same_thread(kind: str, certificate: tuple[Path, Path]) -> None:
    run_scenario(TLS, "https_is_spoken_with_a_server_of_the_same_thread", kind, *map(str, certificate))
