"""Answers checked by schema and policy, here or in another process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import ValidationError

from errors import OutputCheckUnavailable
from runtime.output import (
    CheckedOutput,
    InvalidOutputSchema,
    OnFailure,
    OutputChecker,
    OutputPolicy,
    OutputRejected,
    OutputSchema,
    Repair,
    close_shared_pool,
)
from runtime.output.elsewhere import shared_pool
from runtime.output.pool import POOL_SIZE

NUMBERS = OutputSchema.parse(
    {"type": "object", "properties": {"n": {"type": "array", "items": {"type": "integer"}}}, "required": ["n"]}
)
CATASTROPHE = OutputSchema.parse({"type": "object", "properties": {"a": {"pattern": "^(?!z)(a+)+$"}}})
ENDLESS = '{"a": "' + "a" * 60 + '!"}'
# Work for most of a second: on a busy machine that is still far from the longest that a check may take.
MANY = {"n": list(range(40_000))}


def checker(schema: OutputSchema = NUMBERS, **policy: Any) -> OutputChecker:
    return OutputChecker(schema, OutputPolicy(**policy))


def rejection(schema: OutputSchema, raw: Any, *, truncated: bool = False, **policy: Any) -> list[str]:
    with pytest.raises(OutputRejected) as caught:
        checker(schema, **policy).check(raw, truncated=truncated)
    return [str(problem) for problem in caught.value.problems]


def kinds(checked: CheckedOutput) -> list[str]:
    return [repair.kind for repair in checked.repairs]


# Policies


@pytest.mark.parametrize(
    "policy",
    [
        {"max_model_retries": 6},
        {"max_model_retries": -1},
        {"max_model_retries": True},
        {"max_model_retries": "1"},
        {"repair": "some"},
        {"on_failure": "default"},
        {"default": {}},
        {"default": None},
        {"on_failure": "error", "default": {}},
        {"retries": 1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OutputPolicy.model_validate(policy)


def test_a_policy_has_defaults() -> None:
    policy = OutputPolicy.model_validate({})

    assert (policy.max_model_retries, policy.repair, policy.on_failure) == (1, Repair.NONE, OnFailure.ERROR)


@pytest.mark.parametrize("default", [None, [], {}, {"n": ["canary"]}, {"n": [1], "x": "\ud800"}])
def test_a_default_must_satisfy_the_schema(default: Any) -> None:
    with pytest.raises(InvalidOutputSchema, match="the default") as caught:
        checker(on_failure="default", default=default)

    assert "canary" not in str(caught.value)


def test_a_default_that_satisfies_the_schema_is_kept() -> None:
    assert checker(on_failure="default", default={"n": []}).policy.default == {"n": []}


# Answers


@pytest.mark.parametrize("raw", ['{"n": [1]}', {"n": [1]}, MappingProxyType({"n": [1]})])
def test_a_valid_answer_needs_no_repair(raw: Any) -> None:
    checked = checker().check(raw)

    assert checked.value == {"n": [1]}
    assert checked.repairs == []


def test_large_numbers_stay_exact() -> None:
    number = 10**300 + 7

    assert checker().check({"n": [number]}).value == {"n": [number]}
    assert checker().check(f'{{"n": [{number}]}}').value == {"n": [number]}


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ('{"n": ["x"]}', "$.n[0]: 'x' is not of type 'integer'"),
        ("[]", "$: the output must be an object"),
        ("{}", "$: 'n' is a required property"),
        ({"n": [float("nan")]}, "$: holds something that JSON cannot"),
        ({"n": ["\ud800"]}, "$: a text has half of a surrogate pair, which is no character"),
        ("\ud800", "$: the text has half of a surrogate pair, which is no character"),
        ('{"n": "' + "x" * 1_048_576 + '"}', "$: larger than 1,048,576 bytes"),
        ("nothing", "$: not valid JSON: Expecting value at line 1, column 1"),
    ],
)
def test_an_answer_that_is_not_valid_is_rejected_with_the_reason(raw: Any, problem: str) -> None:
    assert rejection(NUMBERS, raw) == [problem]


def test_each_level_of_repair_does_what_it_says() -> None:
    fenced, guessed = '```json\n{"n": [1,]}\n```', "{n: [1]}"

    assert kinds(checker(repair="safe").check(fenced)) == ["fenced_block", "trailing_commas"]
    assert kinds(checker(repair="lenient").check(guessed)) == ["json_repair"]
    rejection(NUMBERS, fenced)
    rejection(NUMBERS, guessed, repair="safe")


def test_a_repaired_answer_must_satisfy_the_schema_as_well() -> None:
    assert rejection(NUMBERS, "{n: 'x'}", repair="lenient") == ["$.n: 'x' is not of type 'array'"]


def test_nothing_is_guessed_of_an_answer_that_was_cut_off() -> None:
    whole, cut = 'So: {"n": [1]}', '{"n": [1, 2'

    assert checker(repair="lenient").check(whole, truncated=True).value == {"n": [1]}
    assert checker(repair="lenient").check(cut).value == {"n": [1, 2]}
    assert "cut off" in rejection(NUMBERS, cut, truncated=True, repair="lenient")[0]


# In another process


def test_a_large_answer_is_the_same_as_a_small_one() -> None:
    text = json.dumps(MANY)

    assert checker().check(text).value == MANY
    assert checker().check(MANY).value == MANY
    assert kinds(checker(repair="safe").check(f"So: {text}")) == ["surrounding_text"]
    assert checker(repair="lenient").check(text.replace('"n"', "n")).value == MANY
    assert rejection(NUMBERS, text[:-2] + ', "x"]}') == [f"$.n[{len(MANY['n'])}]: 'x' is not of type 'integer'"]


def test_a_schema_that_only_another_process_may_use_works() -> None:
    schema = OutputSchema.parse(
        {
            "type": "object",
            "properties": {"a": {"pattern": "^(?=.*[A-Z])"}},
            "patternProperties": {"^x_": {}},
            "unevaluatedProperties": False,
        }
    )

    assert checker(schema).check({"a": "aB", "x_1": 1}).value == {"a": "aB", "x_1": 1}
    assert len(rejection(schema, {"a": "ab", "b": 1})) == 2


def test_a_check_that_takes_too_long_is_given_up_and_the_next_one_works(monkeypatch: pytest.MonkeyPatch) -> None:
    checker().check(MANY)  # a process is there
    monkeypatch.setattr("runtime.output.pool.JOB_SECONDS", 0.3)

    assert rejection(CATASTROPHE, ENDLESS) == ["$: the output could not be checked within 10 seconds"]

    monkeypatch.undo()
    assert checker(CATASTROPHE).check('{"a": "aa"}').value == {"a": "aa"}


def test_a_process_that_dies_at_work_is_a_clear_error_and_the_next_one_works() -> None:
    async def kill_it_at_work() -> None:
        checker().check(MANY)
        check = asyncio.create_task(checker(CATASTROPHE).check_async(ENDLESS))
        while not shared_pool().is_busy:
            await asyncio.sleep(0.01)
        for pid in shared_pool().pids:
            os.kill(pid, signal.SIGKILL)
        await check

    with pytest.raises(OutputCheckUnavailable):
        asyncio.run(kill_it_at_work())

    assert checker().check(MANY).value == MANY


def test_a_process_that_died_while_idle_is_replaced() -> None:
    checker().check(MANY)
    for pid in shared_pool().pids:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    assert checker().check(MANY).value == MANY


def test_closing_ends_the_processes_and_the_checks_that_wait_for_them() -> None:
    async def close_at_work() -> list[int]:
        check = asyncio.create_task(checker(CATASTROPHE).check_async(ENDLESS))
        while not shared_pool().is_busy:
            await asyncio.sleep(0.01)
        pids = shared_pool().pids
        close_shared_pool()
        with pytest.raises(OutputCheckUnavailable):
            await check
        return pids

    pids = asyncio.run(close_at_work())

    assert pids
    assert not any(is_running(pid) for pid in pids)


def test_the_number_of_processes_is_limited() -> None:
    async def check_many() -> list[Any]:
        checks = [checker().check_async(MANY) for _ in range(8)]
        return [checked.value for checked in await asyncio.gather(*checks)]

    assert asyncio.run(check_many()) == [MANY] * 8
    assert len(shared_pool().pids) == POOL_SIZE


def test_a_loop_goes_on_while_a_large_text_is_repaired() -> None:
    text = json.dumps(MANY).replace('"n"', "n")

    async def check_and_tick() -> tuple[list[str], int]:
        await checker(repair="lenient").check_async("{n: []}")  # a process is there
        check = asyncio.create_task(checker(repair="lenient").check_async(text))
        ticks = 0
        while not check.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return kinds(await check), ticks

    repairs, ticks = asyncio.run(check_and_tick())

    assert repairs == ["json_repair"]
    assert ticks > 5, "a repair in this process would have let the loop go on once or twice"


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
