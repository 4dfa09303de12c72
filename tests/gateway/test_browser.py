"""A newcomer makes a source on the pages alone, in a real browser; and the pages are usable for everybody."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from asgard_assets.gateway.accounts.store import Accounts
from tests.checkout import ROOT
from tests.end_to_end.homes import Home
from tests.gateway.servers import gateway
from tests.patience import patience
from tests.required import missing
from tests.servers import axe

# ASGARD_SCREENSHOTS=docs/images keeps the pictures of the docs fresh.
PICTURES = Path(os.environ.get("ASGARD_SCREENSHOTS", ROOT / "tests" / "screenshots")).absolute()
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
CALENDAR = {
    "ASGARD_PARTITION_END": "",
    "ASGARD_PARTITION_START": "2026-10-05",
    "ASGARD_DAGSTER_URL": "http://127.0.0.1:3000",
}
WIDE: Any = {"width": 1600, "height": 1000}
NARROW: Any = {"width": 360, "height": 740}
_FAULTS = """async () => (await axe.run()).violations.map(one => one.id + ': ' + one.nodes.map(n => n.target + ' ' + n.failureSummary).join('; '))"""


@pytest.fixture
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        missing("no Chromium on this machine (Debian: apt-get install chromium)")
    return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path / "home")
    folder = found.path / "landing" / "orders"
    folder.mkdir(parents=True)
    rows = "\n".join(
        f"{number},c{number % 7},{number * 1.5},2026-11-{number % 28 + 1:02}" for number in range(1, 60)
    )
    (folder / "monday.csv").write_text(f"order_id,customer,amount,day\n{rows}\n")
    (folder / "tuesday.csv").write_text(
        "order_id,customer,amount,day\n60,c1,9.5,2026-11-29,too many\n61,c2,1,2026-11-30\n"
    )
    return found


def made(page: Any) -> float:
    """The path of a newcomer, from the first page to a run that has ended; how many seconds it took."""
    began = time.monotonic()
    page.get_by_role("link", name="New source").click()
    page.get_by_label("Name of the table").fill("orders")
    page.get_by_label("Folder").fill("orders")
    page.get_by_label("Files").fill("*.csv")
    page.get_by_label("Format").select_option("csv")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("heading", name="Cost").wait_for()
    page.screenshot(path=PICTURES / "service-preview.png", full_page=True)
    page.get_by_role("button", name="Make the source").click()
    page.get_by_role("button", name="Run now").click()
    page.get_by_text("COMPLETED").wait_for(timeout=patience(240) * 1000)
    return time.monotonic() - began


@pytest.mark.servers
@pytest.mark.timeout(1500)
def test_a_newcomer_makes_a_table_on_the_pages_and_anybody_can_use_them(home: Home, chromium: str):
    from playwright.sync_api import sync_playwright

    PICTURES.mkdir(parents=True, exist_ok=True)
    (home.path / "gateway").mkdir(parents=True)
    accounts = Accounts(f"sqlite:///{home.path / 'gateway' / 'accounts.db'}")
    accounts.add("ann", "editor")
    key, script = accounts.new_key("ann"), axe.script()
    with gateway(home, 0, **CALENDAR) as client, sync_playwright() as playwright:
        address = str(client.base_url).rstrip("/")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context(viewport=WIDE, bypass_csp=True)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{address}/ui")
        page.get_by_label("Key of your account").fill(key)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Overview").wait_for()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        seconds = made(page)
        assert seconds < patience(300), f"a newcomer waits {seconds:.0f} s"
        page.screenshot(path=PICTURES / "service-run.png", full_page=True)
        page.goto(f"{address}/ui/tables/bronze/orders")
        page.get_by_role("cell", name="c2", exact=True).first.wait_for()
        page.goto(f"{address}/ui/sources/orders")
        page.get_by_text("1 records and files could not be loaded").wait_for()
        usable(page, address, script)
        browser.close()


def usable(page: Any, address: str, script: str) -> None:
    """On every page axe finds nothing, wide and narrow, light and dark; and nothing sticks out of a narrow one."""
    paths = [
        "",
        "/sources",
        "/sources/orders",
        "/new",
        "/tables",
        "/tables/bronze/orders",
        "/quarantine",
        "/products",
        "/models",
    ]
    for path in paths:
        for size, colours in ((WIDE, "light"), (NARROW, "dark")):
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=colours)
            page.goto(f"{address}/ui{path}")
            page.evaluate(script)
            assert page.evaluate(_FAULTS) == [], f"{path} {colours}"
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], (
                f"{path} sticks out"
            )
            if path in ("", "/sources/orders"):
                name = f"service{path.replace('/', '-')}-{colours}.png"
                page.screenshot(path=PICTURES / name, full_page=True)
