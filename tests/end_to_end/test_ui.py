"""The Dagster UI in a real browser: what it shows, and materializing by clicking."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.end_to_end.homes import Home, free_port, listens
from tests.patience import ended, wait_until
from tests.required import missing

# ASGARD_SCREENSHOTS=docs/images keeps the pictures of the docs fresh.
PICTURES = Path(os.environ.get("ASGARD_SCREENSHOTS", ROOT / "tests" / "screenshots")).absolute()
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]


@pytest.fixture
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        missing("no Chromium on this machine (Debian: apt-get install chromium)")
    return found


@pytest.fixture
def ui(copy_of_demo: Home) -> Iterator[str]:
    """`asgard dev` on a copy of the demo, with the REST API beside it."""
    port, api = free_port(), free_port()
    process = copy_of_demo.start("asgard", "dev", "--port", str(port), ASGARD_GATEWAY_PORT=str(api))
    try:
        wait_until(lambda: listens(port), 120, "the UI answers")
        wait_until(lambda: listens(api), 120, "the REST API answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        ended(process, 60, signal.SIGINT, group=True)
    assert not listens(api)


def test_a_person_sees_the_platform_and_materializes_a_day_by_clicking(
    ui: str, chromium: str, copy_of_demo: Home
):
    from playwright.sync_api import expect, sync_playwright

    PICTURES.mkdir(parents=True, exist_ok=True)
    before = copy_of_demo.lake.version("silver", "invoices")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)

        def picture(name: str) -> None:
            page.wait_for_timeout(1500)
            page.screenshot(path=str(PICTURES / f"{name}.png"))

        page.goto(f"{ui}/assets/gold/customer_metrics")
        for text in ("days_since_last_purchase", "analytics", "dbt", "Freshness policy"):
            expect(page.get_by_text(text).first).to_be_visible()
        picture("table")
        page.goto(f"{ui}/assets/silver/customers?view=checks")
        expect(page.get_by_text("key_is_unique").first).to_be_visible()
        picture("checks")
        page.goto(f"{ui}/assets/model/churn_model?view=events")
        expect(page.get_by_text("comparison").first).to_be_visible()
        picture("model")
        page.goto(f"{ui}/assets/model/churn_predictions?view=lineage&lineageScope=upstream&lineageDepth=5")
        expect(page.get_by_text("churn_training_set").first).to_be_visible()
        picture("lineage")

        page.goto(f"{ui}/assets/silver/invoices")
        page.get_by_role("button", name="Materialize").first.click()
        page.get_by_role("button", name="Latest", exact=True).click()
        picture("materialize")
        page.get_by_role("button", name="Launch").last.click()
        wait_until(
            lambda: copy_of_demo.lake.version("silver", "invoices") > before, 180, "the run has published"
        )
        page.goto(f"{ui}/runs")
        expect(page.get_by_text("Success").first).to_be_visible()
        picture("run")
        browser.close()
