"""How many examples the fuzzers try: few with all other tests, far more with GREENRUN_SOAK=1."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.support.no_skips import is_ci

IS_SOAK = os.environ.get("GREENRUN_SOAK") == "1"
SOAK_FACTOR = 50


def effort(examples: int) -> settings:
    """That many examples, or a multiple in a soak. In CI they are the same every time, in a soak never."""
    return settings(
        max_examples=examples * (SOAK_FACTOR if IS_SOAK else 1),
        deadline=None,
        derandomize=is_ci() and not IS_SOAK,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
