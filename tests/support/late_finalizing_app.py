"""The server, whose workers finalize turns that succeed only when somebody needs them, or at their end."""

from __future__ import annotations

from app import create_app
from services.sessions.turns import pending

pending.KEPT_SECONDS = 3600.0

app = create_app()
