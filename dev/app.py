"""What dev/start serves: Greenrun, with the example page beside it."""

from __future__ import annotations

from pathlib import Path

from flask import Response, redirect, send_file
from werkzeug.wrappers import Response as BaseResponse

from app import create_app

EXAMPLE_PAGE = Path(__file__).parent.parent / "examples" / "browser.html"

app = create_app()


@app.get("/example")
def show_example() -> Response:
    """A page that posts a run and shows it streaming."""
    return send_file(EXAMPLE_PAGE)


@app.get("/")
def redirect_to_example() -> BaseResponse:
    return redirect("/example")
