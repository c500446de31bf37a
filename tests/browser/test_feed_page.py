"""The dashboard printed in docs/feed.md, unchanged, in a real browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from werkzeug.serving import make_server

from tests.browser.conftest import needs_chromium
from tests.conftest import StartServer
from tests.support.client import RunClient, demo_llm, prompt
from tests.support.cutting_proxy import CuttingProxy, cutting_proxy

DOCUMENTED = Path(__file__).parents[2] / "docs" / "feed.md"
OPERATOR = "operator-token-of-the-tests"
SETTINGS = {"admin_token": OPERATOR, "secret_keys": "key-of-the-tests-" + "k" * 27}
ANSWER = " ".join(f"word{number}" for number in range(100))
CUT_AFTER_BYTES = 20_000

pytestmark = needs_chromium


def printed(language: str) -> str:
    """The page's only code block in a language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENTED.read_text(), re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.fixture
def client(start_server: StartServer) -> RunClient:
    return RunClient(start_server(SETTINGS, redis_prefix="feed-page", workers=2).url)


@pytest.fixture
def proxy(client: RunClient) -> Iterator[CuttingProxy]:
    """A proxy to the server that breaks connections every now and then."""
    with cutting_proxy(client.url, cut_after=CUT_AFTER_BYTES) as proxy:
        yield proxy


@pytest.fixture
def dashboard(proxy: CuttingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the documented backend, with the documented page."""
    (tmp_path / "dashboard.html").write_text(printed("html"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNS_URL", proxy.url)
    monkeypatch.setenv("DIFY_AGENT_ADMIN_TOKEN", OPERATOR)
    backend: dict[str, Any] = {"__name__": "dashboard"}
    exec(printed("python"), backend)  # noqa: S102 (the code is ours)
    server = make_server("127.0.0.1", 0, backend["app"], threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_documented_dashboard_shows_every_run_whole_over_broken_connections(
    page: Page, dashboard: str, client: RunClient, proxy: CuttingProxy
) -> None:
    before = client.create(prompt(), demo_llm(answer=ANSWER, delay_ms=30))
    page.goto(dashboard)
    page.get_by_text("running").first.wait_for()

    after = [client.create(prompt(), demo_llm(answer=ANSWER, delay_ms=10)) for _ in range(2)]
    failed = client.create(prompt(), demo_llm(answer="not much", fail="out of order"))
    for run_id in (before, *after, failed):
        client.finish(run_id)
    page.wait_for_function("() => runs.size === 4 && [...runs.values()].every((run) => run.hasEnded)")
    page.wait_for_function("() => [...runs.values()].every(({ row }) => row.firstChild.textContent !== 'running')")

    rows = dict(page.evaluate("() => [...runs].map(([id, { row }]) => [id, row.textContent])"))
    assert proxy.cuts >= 1
    assert {rows[run_id] for run_id in (before, *after)} == {f"succeeded {ANSWER}"}
    assert rows[failed].startswith("failed ")
