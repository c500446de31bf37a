"""The state folder of dev/start."""

import base64
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dev.errors import LaunchError
from dev.private_redis import LONGEST_SOCKET_PATH, socket_path
from dev.state import StateFolder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_and_its_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")

    state.admin_token()
    state.secret_keys()

    assert mode(state.path) == 0o700
    assert mode(state.admin_token_file) == 0o600
    assert mode(state.secret_keys_file) == 0o600


def test_secrets_are_made_once_and_differ_between_folders(tmp_path: Path) -> None:
    first, other = StateFolder(tmp_path / "first"), StateFolder(tmp_path / "other")

    token, keys = first.admin_token(), first.secret_keys()

    again = StateFolder(tmp_path / "first")
    assert (again.admin_token(), again.secret_keys()) == (token, keys)
    assert other.admin_token() != token
    assert other.secret_keys() != keys


def test_a_secret_key_holds_32_bytes(tmp_path: Path) -> None:
    keys = StateFolder(tmp_path / "state").secret_keys()

    assert len(base64.urlsafe_b64decode(keys)) == 32


def test_a_folder_that_a_start_holds_cannot_be_started_from_again(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    hold = f"import sys, pathlib, dev.state as s\nwith s.StateFolder(pathlib.Path({str(state.path)!r})).locked():"
    hold += " print('held', flush=True); sys.stdin.read()"

    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LaunchError, match=f"already runs in this checkout .process {holder.pid}."), state.locked():
            pass
        holder.communicate()

    with state.locked():
        pass  # free again


def test_a_path_too_long_for_a_socket_gets_a_short_private_one(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(short_path))
    deep = short_path / ("x" * 120)
    state = StateFolder(deep)

    path = socket_path(state)

    assert len(str(path)) <= LONGEST_SOCKET_PATH
    assert mode(path.parent) == 0o700
    assert path == socket_path(StateFolder(deep)), "the next start has to find what this one left"
    assert socket_path(StateFolder(short_path / "short")) == short_path / "short" / "redis.sock"


def test_a_short_path_that_others_can_write_to_is_refused(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(short_path))
    state = StateFolder(short_path / ("x" * 120))
    socket_path(state).parent.chmod(0o777)

    with pytest.raises(LaunchError, match="not a private folder"):
        socket_path(state)
