"""One day in a browser: three files come while it is open. The UI and `asgard state` say so each time, and what is in it.

Commands live at the time of the story. The webserver does not: its calls to the code location have deadlines.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.homes import Home, free_port, listens
from tests.end_to_end.test_ui import FLAGS, PICTURES, chromium
from tests.patience import ended, wait_until

pytestmark = [pytest.mark.servers, pytest.mark.soak, pytest.mark.timeout(600)]
__all__ = ["chromium"]
DAY, NEXT = "2026-10-05", "2026-10-06"
CLOCK = """
import datetime, os
import time_machine
if told := os.environ.get("ASGARD_TEST_NOW"):
    time_machine.travel(datetime.datetime.fromisoformat(told)).start()
"""
"""What every Python process of the project runs first."""
FILES = {
    "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\n[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\n'
    'root_module = "shop"\ndefs_module = "shop.defs"\ncode_location_target_module = "shop.definitions"\n',
    "workspace.yaml": "load_from:\n  - python_module: {module_name: shop.definitions, location_name: shop}\n",
    "sitecustomize.py": CLOCK,
    "shop/__init__.py": "",
    "shop/defs/__init__.py": "",
    "shop/definitions.py": "from pathlib import Path\nimport dagster as dg\n"
    "from asgard_assets.components.platform import project_definitions\n"
    "@dg.definitions\ndef defs() -> dg.Definitions:\n    return project_definitions(Path(__file__))\n",
    "shop/defs/bronze/sales/defs.yaml": "type: asgard_assets.components.files.FileIngest\nattributes:\n  name: sales\n  path: sales\n"
    "  ds: {type: folder}\n  description: Sales of the tills, one row a sale.\n"
    "  columns:\n    id: {type: bigint, description: Number of the sale.}\n    amount: {type: bigint, description: Cents.}\n",
    "shop/defs/gold/takings.py": "import pyarrow as pa\nfrom asgard_assets.components.python import table\n"
    '@table("gold/takings", deps=["bronze/sales"], key=["ds"], columns={"amount": "bigint"}, description="Takings of each day.")\n'
    "def takings(lake, days):\n    query = 'select sum(amount)::bigint as amount, ds from bronze.sales where ds in (select unnest(?)) group by ds'\n"
    "    with lake.connect() as connection:\n        return connection.execute(query, [days]).to_arrow_table()\n",
}


class Shop(Home):
    """A project whose processes live at `now`."""

    now = f"{DAY}T08:05:00+00:00"

    @property
    def env(self) -> dict[str, str]:
        gone = {"ASGARD_PARTITION_END", "ASGARD_DEMO_API_URL", "ASGARD_AIRBYTE_URL"}
        told = {name: value for name, value in super().env.items() if name not in gone}
        own = {
            "ASGARD_TEST_NOW": self.now,
            "ASGARD_LANDING": str(self.path / "landing"),
            "PYTHONPATH": str(self.repository),
        }
        return told | own

    def at(self, hour: str, day: str = DAY) -> None:
        self.now = f"{day}T{hour}:00+00:00"

    def told(self, *command: str) -> str:
        done = self.run("asgard", *command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def drop(self, name: str, rows: list[tuple[int, int]]) -> None:
        folder = self.path / "landing" / "sales" / f"ds={DAY}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("id,amount\n" + "".join(f"{id},{amount}\n" for id, amount in rows))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    project = tmp_path / "project"
    for name, text in FILES.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    return Shop(tmp_path / "home", repository=project)


@pytest.fixture
def ui(shop: Shop) -> Iterator[str]:
    shop.path.mkdir()
    shop.told("state")  # makes the home
    port = free_port()
    process = shop.start(
        "dagster-webserver", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port), ASGARD_TEST_NOW=""
    )
    try:
        wait_until(lambda: listens(port), 120, "the UI answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        ended(process, 20, signal.SIGTERM, group=True)


def test_three_files_of_the_day_that_is_open_in_the_ui_and_in_asgard_state(
    shop: Shop, ui: str, chromium: str
):
    from playwright.sync_api import expect, sync_playwright

    until, amounts = f"open until {NEXT}T00:00Z", (100, 300, 600)
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1000}, timezone_id="UTC")
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        for number, hour in enumerate(("08:05", "12:05", "18:05"), 1):
            shop.at(hour)
            shop.drop(f"till-{number}.csv", [(10 * number + n, 100) for n in range(number)])
            shop.told("run", "bronze/sales")
            if number > 1:
                assert f"stale       {DAY}: bronze/sales {DAY} changed" in shop.told("state", "gold/takings")
            shop.told("run", "gold/takings", "--partitions", DAY)
            state = shop.told("state", "gold/takings")
            assert f"open        {DAY}" in state and "stale" not in state, state
            with shop.lake.connect() as connection:
                assert connection.execute("select amount from gold.takings").fetchall() == [
                    (amounts[number - 1],)
                ]
            page.goto(f"{ui}/assets/gold/takings?view=partitions&partition={DAY}")
            expect(page.get_by_text(until).first).to_be_visible()
            page.wait_for_timeout(1500)
            assert "External Asset" not in page.inner_text("body")
            page.screenshot(path=str(PICTURES / f"open-day-{number}.png"))
        shop.at("01:05", NEXT)
        state = shop.told("state", "gold/takings")
        assert f"open        {NEXT}" in state and f"open        {DAY}" not in state, state
        shop.told("run", "gold/takings", "--partitions", DAY)
        page.goto(f"{ui}/assets/gold/takings?view=partitions&partition={DAY}")
        expect(page.get_by_text("partition_row_count").first).to_be_visible()
        assert until not in page.inner_text("body")
        browser.close()
