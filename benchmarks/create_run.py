"""What it costs to accept a run, and how much of that is proving its composition, which every create waits for."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import requests

from runtime.composition.binding import bind_composition
from runtime.layers.registry import LAYER_TYPES
from runtime.protocol.requests import CreateRunRequest
from tests.support.client import plugin_layers, prompt
from tests.support.gunicorn_server import running_server
from tests.support.redis_server import running_redis

ROUNDS = 300


def main() -> None:
    """Prints medians for a small and a workflow-sized composition."""
    print(f"{'composition':24} {'parse':>10} {'prove':>10} {'POST /runs':>12} {'share of both':>14}")
    with running_redis() as redis:
        env = {
            "DIFY_AGENT_REDIS_URL": redis.url,
            "DIFY_AGENT_DEFAULT_LLM": '{"type": "greenrun.demo_llm", "config": {"answer": "ok"}}',
            "DIFY_AGENT_MAX_ACTIVE_RUNS": "100000",
        }
        with running_server(env, cold=True) as server:
            for name, body in (("one prompt layer", _small()), ("workflow node, 6 layers", _workflow())):
                _measure(name, body, server.url)


def _measure(name: str, body: dict[str, Any], url: str) -> None:
    text = json.dumps(body)
    parse = _median(lambda: CreateRunRequest.model_validate(json.loads(text)))
    request = CreateRunRequest.model_validate(body)
    prove = _median(
        lambda: bind_composition(request.composition, registry=LAYER_TYPES, on_exit=request.on_exit, snapshot=None)
    )
    with requests.Session() as session:
        session.trust_env = False
        create = _median(lambda: session.post(f"{url}/runs", json=body, timeout=30).raise_for_status())
    share = (parse + prove) / create
    print(f"{name:24} {parse * 1e6:8.0f}µs {prove * 1e6:8.0f}µs {create * 1e3:10.2f}ms {share:13.1%}")


def _median(call: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _small() -> dict[str, Any]:
    return {"composition": {"layers": [prompt()]}}


def _workflow() -> dict[str, Any]:
    """Returns the layers of a Dify workflow node. Their model cannot be reached, so the run itself costs little."""
    prompts = [{**prompt(f"text {number}"), "name": f"prompt{number}"} for number in range(3)]
    return {
        "composition": {"layers": [*prompts, {"name": "history", "type": "pydantic_ai.history"}, *plugin_layers("m")]}
    }


if __name__ == "__main__":
    main()
