"""The example page in a real browser, served as by ``dev/start``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MILLISECONDS, needs_chromium
from tests.conftest import StartServer
from tests.support.client import RunClient
from tests.support.cutting_proxy import cutting_proxy
from tests.support.gunicorn_server import GunicornServer

EXAMPLE_PAGE = Path(__file__).parents[2] / "examples" / "browser.html"
SHOWS_A_PART_OF_THE_ANSWER = """() => {
    const text = document.getElementById("text").textContent;
    return document.getElementById("status").textContent === "running" && text && !text.includes("real answer.");
}"""

pytestmark = needs_chromium


@pytest.fixture
def dev_server(start_server: StartServer) -> GunicornServer:
    return start_server(app="dev.app:app")


def listed_ids(page: Page) -> list[str]:
    return list(page.locator("#events li").evaluate_all("rows => rows.map(row => row.dataset.id)"))


def stored_ids(server: GunicornServer, run_id: str) -> list[str]:
    return [event["id"] for event in RunClient(server.url).page(run_id, limit=500)["events"]]


def test_the_page_streams_a_run_to_its_end(page: Page, dev_server: GunicornServer) -> None:
    page.goto(dev_server.url)
    page.fill("#prompt", "How do you do?")
    page.click("#run")

    page.wait_for_function(SHOWS_A_PART_OF_THE_ANSWER)
    expect(page.locator("#status")).to_have_text("succeeded", timeout=PATIENCE_MILLISECONDS)
    expect(page.locator("#text")).to_contain_text("You asked: “How do you do?”.")
    expect(page.locator("#text")).to_contain_text("to get a real answer.")
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("#run")).to_be_enabled()
    expect(page.locator("#cancel")).to_be_disabled()


def test_the_page_lists_every_event_with_its_id(page: Page, dev_server: GunicornServer) -> None:
    page.goto(f"{dev_server.url}/example")
    page.select_option("#model", "")
    page.click("#run")
    expect(page.locator("#status")).to_have_text("succeeded", timeout=PATIENCE_MILLISECONDS)

    assert listed_ids(page) == stored_ids(dev_server, page.locator("#run-id").inner_text())
    page.locator("#events summary").last.click()
    expect(page.locator("#events pre")).to_contain_text('"type": "run_succeeded"')


def test_the_page_cancels_a_slow_run(page: Page, dev_server: GunicornServer) -> None:
    page.goto(f"{dev_server.url}/example")
    page.select_option("#model", "700")
    page.click("#run")
    expect(page.locator("#text")).to_contain_text("This", timeout=PATIENCE_MILLISECONDS)

    page.click("#cancel")

    expect(page.locator("#status")).to_have_text("cancelled", timeout=PATIENCE_MILLISECONDS)
    expect(page.locator("#events li").last).to_contain_text("run_cancelled")
    expect(page.locator("#text")).not_to_contain_text("real answer.")
    run_id = page.locator("#run-id").inner_text()
    assert RunClient(dev_server.url).status(run_id)["status"] == "cancelled"


def test_the_page_misses_nothing_over_broken_connections(page: Page, start_server: StartServer) -> None:
    answer = " ".join(f"word{number}" for number in range(120))
    model = json.dumps({"type": "greenrun.demo_llm", "config": {"answer": answer, "delay_ms": 5}})
    server = start_server(app="dev.app:app", default_llm=model)
    with cutting_proxy(server.url, cut_after=EXAMPLE_PAGE.stat().st_size + 2000) as proxy:
        page.goto(f"{proxy.url}/example")
        page.select_option("#model", "")
        page.click("#run")

        expect(page.locator("#status")).to_have_text("succeeded", timeout=2 * PATIENCE_MILLISECONDS)
        text, listed, run_id = (
            page.locator("#text").inner_text(),
            listed_ids(page),
            page.locator("#run-id").inner_text(),
        )
        page.close()

    assert proxy.cuts >= 1
    assert text == answer
    assert listed == stored_ids(server, run_id)


def test_the_page_says_why_a_run_was_refused(page: Page, dev_server: GunicornServer) -> None:
    page.goto(f"{dev_server.url}/example")
    page.fill("#prompt", "   ")
    page.click("#run")

    expect(page.locator("#status")).to_have_text("failed", timeout=PATIENCE_MILLISECONDS)
    expect(page.locator("#notice")).to_contain_text("run.user_prompts must not be empty")
    expect(page.locator("#run")).to_be_enabled()


def test_the_page_says_that_a_token_is_needed(page: Page, start_server: StartServer) -> None:
    server = start_server(app="dev.app:app", api_token="made-up")
    page.goto(f"{server.url}/example")
    page.click("#run")

    expect(page.locator("#notice")).to_contain_text("bearer token", timeout=PATIENCE_MILLISECONDS)


def test_the_page_says_that_the_server_is_gone(page: Page, start_server: StartServer) -> None:
    server = start_server(app="dev.app:app")
    page.goto(f"{server.url}/example")
    server.stop()
    page.click("#run")

    expect(page.locator("#notice")).to_contain_text("cannot be reached", timeout=PATIENCE_MILLISECONDS)


def test_the_page_shows_a_prompt_as_text_and_never_as_markup(page: Page, dev_server: GunicornServer) -> None:
    page.goto(f"{dev_server.url}/example")
    page.select_option("#model", "")
    page.fill("#prompt", "<img src=x onerror=alert(1)>")
    page.click("#run")

    expect(page.locator("#status")).to_have_text("succeeded", timeout=PATIENCE_MILLISECONDS)
    expect(page.locator("#text")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator("#text img")).to_have_count(0)


def test_the_page_loads_nothing_from_elsewhere(page: Page, dev_server: GunicornServer) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))

    page.goto(f"{dev_server.url}/example")
    page.wait_for_load_state("networkidle")

    assert [url for url in requested if not url.startswith("data:")] == [f"{dev_server.url}/example"]
