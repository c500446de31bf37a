"""The application with lower bounds on how many events and pieces of an answer it works off."""

from __future__ import annotations

from app import create_app
from runtime.llm.wire import sse
from runtime.outbound import bounds

sse.MAX_EVENTS //= 10
bounds.MAX_PIECES //= 10

app = create_app()
