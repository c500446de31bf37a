"""The ten requests of dev/try-provider, and what each must show."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from dev.trial import Layer, NotHeld, Seen, Trial, prompt
from dev.trial_boxes import CODES, TOOL

BOXES = "boxes"
"""The name of the MCP command with the tool."""

COUNTING = "Write the numbers from 1 to 1000 in order, separated by spaces, without leaving any out, and nothing else."
CUT_TOKENS = 200
"""At most a fifth of what the counting takes."""
TAG = re.compile(r"</?think(ing)?>", re.IGNORECASE)
SHOWN_CHARS = 60

CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "country": {"type": "string"},
        "rivers": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["city", "country", "rivers"],
    "additionalProperties": False,
}


def text(trial: Trial) -> str:
    seen = trial.run(prompt("Answer with the single word: pong"))
    _must_hold("pong", seen)
    return _shown(seen.output)


def streaming(trial: Trial) -> str:
    seen = trial.run(prompt("Count from 1 to 30 in words, separated by commas, and nothing else."))
    if len(seen.pieces) < 3:
        raise NotHeld(f"the whole answer came in {_counted(len(seen.pieces), 'piece')}")
    if "".join(seen.pieces) != seen.output:
        raise NotHeld("the pieces are not the answer")
    return _counted(len(seen.pieces), "piece")


def parallel_tools(trial: Trial) -> str:
    question = "What are the codes of box A and of box B? Call the tool for both boxes at once, then answer with both."
    seen = trial.run(prompt(question), _boxes())
    _must_hold(CODES["A"], seen)
    _must_hold(CODES["B"], seen)
    calls, results = seen.places_of("function_tool_call"), seen.places_of("function_tool_result")
    if len(calls) < 2 or calls[1] > results[0]:
        raise NotHeld("it called the tool for one box after the other")
    return f"{len(calls)} calls at once"


def tool_loop(trial: Trial) -> str:
    seen = trial.run(prompt("What is the code of box A? Ask the tool, then answer with the code alone."), _boxes())
    if not seen.places_of("function_tool_call"):
        raise NotHeld("it did not call the tool")
    _must_hold(CODES["A"], seen)
    return _shown(seen.output)


def structured_output(trial: Trial) -> str:
    policy = {"max_model_retries": 0}
    output = {"name": "output", "type": "dify.output", "config": {"json_schema": CITY, "output_policy": policy}}
    seen = trial.run(prompt("Describe Paris: the city, its country, and its rivers."), output)
    _must_hold("paris", seen)
    return _shown(seen.output)


def thinking(trial: Trial) -> str:
    question = (
        "Which box comes after box A in the alphabet? Think about it, ask the tool for its code, and answer with it."
    )
    body = {"extra_body": trial.thinking} if trial.thinking else {}
    seen = trial.run(prompt(question), _boxes(), **body)
    if TAG.search("".join(seen.pieces)):
        raise NotHeld("its thoughts are in the answer")
    _must_hold(CODES["B"], seen)
    if trial.thinking and not seen.thinking:
        raise NotHeld("it showed no thoughts")
    return f"{_counted(len(seen.thinking), 'character')} of thoughts" if seen.thinking else "none of it in the answer"


def long_answer(trial: Trial) -> str:
    seen = trial.run(prompt(COUNTING), max_tokens=CUT_TOKENS)
    _, answered = seen.tokens
    if "1000" in seen.output or answered > 2 * CUT_TOKENS:
        raise NotHeld(f"max_tokens {CUT_TOKENS} did not cut the answer")
    return f"cut after {_counted(len(seen.output), 'character')}"


def second_turn(trial: Trial) -> str:
    history = {"name": "history", "type": "pydantic_ai.history"}
    prefix = "You end every answer with the word quokka."
    first = trial.run(prompt("My number is 4711. Say that you know it.", prefix=prefix), history)
    snapshot = first.end["session_snapshot"]
    seen = trial.run(prompt("What is my number?", prefix=prefix), history, snapshot=snapshot)
    _must_hold("4711", seen)
    _must_hold("quokka", seen)
    return _shown(seen.output)


def usage(trial: Trial) -> str:
    asked, answered = trial.run(prompt("Say hello.")).tokens
    if not asked or not answered:
        raise NotHeld(f"it reports {asked} tokens sent and {answered} answered")
    return f"{asked} tokens sent, {answered} answered"


def cancel(trial: Trial) -> str:
    seen, seconds = trial.run_and_cancel(prompt(COUNTING))
    if seen.end_type != "run_cancelled":
        raise NotHeld(str(seen.end.get("error") or "it had ended before it could be cancelled"))
    return f"ended {seconds:.1f} s after it"


CHECKS: Mapping[str, Callable[[Trial], str]] = {
    "text": text,
    "streaming": streaming,
    "tools in parallel": parallel_tools,
    "tool loop": tool_loop,
    "structured output": structured_output,
    "thinking": thinking,
    "long answer, cut": long_answer,
    "second turn": second_turn,
    "usage": usage,
    "cancel": cancel,
}
"""The checks by their names in the table. Each returns how it held, or raises NotHeld."""


def _boxes() -> Layer:
    config: dict[str, Any] = {"command": BOXES, "allowed_tools": [TOOL], "connect_timeout_seconds": 60}
    return {"name": "boxes", "type": "greenrun.mcp", "config": config}


def _must_hold(wanted: str, seen: Seen) -> None:
    if wanted.lower() not in seen.output.lower():
        raise NotHeld(f"the answer has no {wanted!r}: {_shown(seen.output)}")


def _shown(output: str) -> str:
    line = " ".join(output.split())
    return line if len(line) <= SHOWN_CHARS else f"{line[:SHOWN_CHARS]}…"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
