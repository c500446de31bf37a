"""``dev/try-provider`` as a person at a terminal sees it, with the real server and a scripted model."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.trial_boxes import CODES
from tests.support.openai_server import USAGE, running_openai_server
from tests.support.plugin_daemon import ScriptedDaemon, Step
from tests.support.ports import free_port

CHECKOUT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "docs", "tests", "benchmarks")
# Starting takes seconds; a busy machine may need this long.
PATIENCE = 300.0
KEY = "sk-canary-of-the-trial"

ROWS = [
    "text",
    "streaming",
    "tools in parallel",
    "tool loop",
    "structured output",
    "thinking",
    "long answer, cut",
    "second turn",
    "usage",
    "cancel",
]

STOP: Step = {"finish": "stop", "usage": USAGE}
COUNTED = ", ".join(["one", "two", "three"] * 10)
NUMBERS = " ".join(map(str, range(1, 1001)))
CITY = {"city": "Paris", "country": "France", "rivers": ["Seine"]}


def says(text: str, *, split: int | None = None) -> list[Step]:
    return [{"text": text, "split": split}, STOP]


def calls(*arguments: dict[str, Any], tool: str = "code_of_box") -> list[Step]:
    """An answer that calls a tool several times at once."""
    steps: list[Step] = [
        {"tool_call": {"index": index, "id": f"call-{index}", "name": tool, "arguments": json.dumps(given)}}
        for index, given in enumerate(arguments)
    ]
    return [*steps, {"finish": "tool_calls", "usage": USAGE}]


def thinks(text: str) -> list[Step]:
    """The thinking that some servers stream before the answer."""
    delta = {"choices": [{"index": 0, "delta": {"reasoning_content": text}, "finish_reason": None}]}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1_795_000_000, "model": "m", **delta}
    return [{"write": f"data: {json.dumps(chunk)}\n\n"}]


GOOD: list[list[Step]] = [
    says("pong"),
    says(COUNTED, split=20),
    calls({"box": "A"}, {"box": "B"}),
    says(f"A has {CODES['A']}, B has {CODES['B']}."),
    calls({"box": "A"}),
    says(CODES["A"]),
    calls(CITY, tool="final_output"),
    [*thinks("After A comes B."), *calls({"box": "B"})],
    says(CODES["B"]),
    [{"text": NUMBERS[:300]}, {"finish": "length", "usage": USAGE}],
    says("I know it. Quokka"),
    says("It is 4711. Quokka"),
    says("Hello."),
    [{"text": "1 2 3 "}, {"hang": True}],
]
ODD: list[list[Step]] = [
    says("pong"),
    says(COUNTED),
    calls({"box": "A"}),
    calls({"box": "B"}),
    says(f"A has {CODES['A']}, B has {CODES['B']}."),
    says("It is surely ABC12."),
    calls({"city": "Paris", "country": "France", "rivers": "Seine"}, tool="final_output"),
    calls({"box": "B"}),
    says(CODES["B"]),
    says(NUMBERS),
    says("I know it. Quokka"),
    says("You told me no number. Quokka"),
    [{"text": "Hello."}, {"finish": "stop"}],
    [{"status": 500, "body": {"error": {"message": KEY}}}],
]


class Trials:
    """Runs ``dev/try-provider`` in a copy of the checkout, apart from the developer's own .env."""

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout

    def __call__(self, *arguments: str, key: str | None = KEY) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DIFY_AGENT_")}
        if key is not None:
            environment["GREENRUN_TRY_API_KEY"] = key
        return subprocess.run(
            [sys.executable, "-m", "dev.try_provider", *arguments],
            cwd=self._checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )


@pytest.fixture(scope="module")
def try_provider(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    checkout = tmp_path_factory.mktemp("trial") / "checkout"
    shutil.copytree(CHECKOUT, checkout, ignore=NOT_COPIED)
    return Trials(checkout)


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedDaemon]:
    with running_openai_server() as server:
        yield server


def table(output: str) -> dict[str, tuple[str, str]]:
    """The verdicts and their remarks, by the names of the rows."""
    rows: dict[str, tuple[str, str]] = {}
    for line in output.splitlines():
        name, _, rest = line.strip().partition("  ")
        verdict, _, told = rest.strip().partition(" ")
        if name in ROWS:
            rows[name] = verdict, told.strip()
    return rows


def test_with_a_good_server_all_checks_hold(try_provider: Trials, provider: ScriptedDaemon) -> None:
    provider.script("good", *GOOD)

    config, effort = '{"compatibility": "openai"}', '{"reasoning_effort": "low"}'
    ended = try_provider("openai", "good", "--url", f"{provider.url}/v1", "--config", config, "--thinking", effort)

    rows = table(ended.stdout)
    assert [verdict for verdict, _ in rows.values()] == ["yes"] * 10, ended.stdout + ended.stderr
    assert list(rows) == ROWS
    assert rows["tools in parallel"][1] == "2 calls at once"
    assert rows["thinking"][1] == "16 characters of thoughts"
    assert rows["usage"][1] == "7 tokens sent, 5 answered"
    assert "10 of 10 hold." in ended.stdout
    assert ended.returncode == 0
    asked = provider.calls("good")
    assert len(asked) == len(GOOD)
    assert {call["headers"]["authorization"] for call in asked} == {f"Bearer {KEY}"}
    assert [call["body"].get("reasoning_effort") for call in asked] == [None] * 7 + ["low"] * 2 + [None] * 5
    assert provider.wait_until_ended("good", count=len(GOOD))["closed_by_client"]
    assert KEY not in ended.stdout + ended.stderr


def test_with_an_odd_server_it_says_which_checks_do_not_hold(try_provider: Trials, provider: ScriptedDaemon) -> None:
    provider.script("odd", *ODD)

    ended = try_provider("openai", "odd", "--url", f"{provider.url}/v1", key=None)

    rows = table(ended.stdout)
    wrong = {name: told for name, (verdict, told) in rows.items() if verdict == "NO"}
    assert set(rows) - set(wrong) == {"text", "thinking"}, ended.stdout + ended.stderr
    assert wrong["streaming"] == "the whole answer came in 1 piece"
    assert wrong["tools in parallel"] == "it called the tool for one box after the other"
    assert wrong["tool loop"] == "it did not call the tool"
    assert "does not satisfy the output schema" in wrong["structured output"]
    assert wrong["long answer, cut"] == "max_tokens 200 did not cut the answer"
    assert wrong["second turn"] == "the answer has no '4711': You told me no number. Quokka"
    assert wrong["usage"] == "it reports 0 tokens sent and 0 answered"
    assert "status 500" in wrong["cancel"]
    assert KEY not in ended.stdout + ended.stderr
    assert "2 of 10 hold." in ended.stdout
    assert ended.returncode == 1


def test_an_unreachable_server_gets_only_one_request(try_provider: Trials) -> None:
    ended = try_provider("openai", "nowhere", "--url", f"http://127.0.0.1:{free_port()}/v1")

    rows = table(ended.stdout)
    assert [verdict for verdict, _ in rows.values()] == ["NO"] + ["-"] * 9, ended.stdout + ended.stderr
    assert "openai:nowhere" in rows["text"][1]
    assert "0 of 10 hold." in ended.stdout
    assert ended.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nobody", "model"], "invalid choice: 'nobody'"),
        (["openai"], "required: model"),
        (["openai", "m", "--config", '{"credentials": {"api_key": "x"}}'], "the key goes into GREENRUN_TRY_API_KEY"),
        (["openai", "m", "--thinking", "[]"], "invalid _object value"),
    ],
)
def test_wrong_arguments_are_refused_at_once(try_provider: Trials, arguments: list[str], told: str) -> None:
    ended = try_provider(*arguments)

    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Redis" not in ended.stdout


def test_an_unknown_config_key_is_named(try_provider: Trials) -> None:
    ended = try_provider("openai", "m", "--url", "http://127.0.0.1:9/v1", "--config", '{"colour": "green"}')

    assert ended.returncode == 2
    assert "colour" in ended.stderr
    assert KEY not in ended.stdout + ended.stderr
