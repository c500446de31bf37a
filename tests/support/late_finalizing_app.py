"""The server, with workers that finalize a successful turn only when a caller needs it, or when they stop."""

from __future__ import annotations

from app import create_app
from services.sessions.turns import pending

pending.KEPT_SECONDS = 3600.0

app = create_app()
