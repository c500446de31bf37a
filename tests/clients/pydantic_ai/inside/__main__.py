"""Runs tasks in the environment of a version: each line of input has a task and its argument, as JSON."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

from tests.clients.pydantic_ai.inside import events, histories, runs, schema

TASKS: dict[str, Callable[[Any], Any]] = {
    "events": events.unread,
    "make_histories": histories.make,
    "read_histories": histories.read,
    "runs": runs.unread,
    "schema": schema.table,
}

warnings.simplefilter("error")
for line in sys.stdin:
    task, given = json.loads(line)
    print(json.dumps(TASKS[task](given)), flush=True)  # noqa: T201
