"""The application that dev/start serves: Greenrun, with the example page beside it."""

from __future__ import annotations

from pathlib import Path

from flask import Response, redirect, send_file
from werkzeug.wrappers import Response as BaseResponse

from app import create_app

EXAMPLE_PAGE = Path(__file__).parent.parent / "examples" / "browser.html"
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "frame-ancestors 'none'"
)
"""The page has its script and style in it; an answer of Greenrun itself may load nothing at all."""

app = create_app()


@app.get("/example")
def show_example() -> Response:
    """A page that posts a run and shows it streaming."""
    page = send_file(EXAMPLE_PAGE)
    page.headers["Content-Security-Policy"] = PAGE_POLICY
    return page


@app.get("/")
def redirect_to_example() -> BaseResponse:
    return redirect("/example")
