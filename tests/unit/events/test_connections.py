"""What an answer of Redis means."""

from __future__ import annotations

import pytest
from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

from runtime.events.connections import is_from_replica, is_passing

IN_A_SCRIPT = "Error running script (call to f_1): @user_script:1: @user_script: 1: -"


@pytest.mark.parametrize("where", ["", IN_A_SCRIPT])
@pytest.mark.parametrize("code", ["BUSY", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY"])
def test_a_temporary_refusal_is_recognized_inside_a_script_too(where: str, code: str) -> None:
    assert is_passing(ResponseError(f"{where}{code} not now"))


@pytest.mark.parametrize("text", ["WRONGTYPE of key", "ERR MISCONFIGURED", f"{IN_A_SCRIPT}WRONGTYPE of READONLY key"])
def test_other_refusals_are_not_temporary(text: str) -> None:
    assert not is_passing(ResponseError(text))
    assert not is_passing(NoPermissionError(text))


def test_a_replica_is_recognized_by_its_refusals() -> None:
    assert is_from_replica(ReadOnlyError("READONLY You can't write against a read only replica."))
    assert is_from_replica(ResponseError(f"{IN_A_SCRIPT}READONLY You can't write against a read only replica."))
    assert not is_from_replica(ResponseError("OOM command not allowed"))
    assert not is_from_replica(b"READONLY ")
