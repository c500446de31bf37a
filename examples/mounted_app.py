"""A Flask application with Greenrun mounted beside its own routes.

Run it with: gunicorn -c gunicorn.conf.py examples.mounted_app:app

The hooks in ``gunicorn.conf.py`` find the runtime in ``app.extensions["greenrun"]``: they start it with the worker and
let active runs end before the worker exits.
"""

from __future__ import annotations

from flask import Flask

from app import init_app
from settings import Settings

app = Flask(__name__)


@app.get("/hello")
def say_hello() -> str:
    """A route that has nothing to do with Greenrun."""
    return "Hello from my own application."


@app.errorhandler(404)
def show_not_found(_: Exception) -> tuple[str, int]:
    """This application's own error page. Errors below /runs keep the shape that their clients expect."""
    return "<h1>Nothing here</h1>", 404


init_app(app, Settings())
