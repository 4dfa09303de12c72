"""Several gateways on one Postgres: one launch for a key, no lost update, and a claim that ends with its process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asgard_assets.gateway.accounts.store import Accounts
from asgard_assets.operations.transforms.shared import SharedSubmissions, submissions_of
from asgard_assets.operations.transforms.submissions import Outcome, Submission, queued
from asgard_assets.settings import Settings
from tests.checkout import ROOT
from tests.servers.postgres import postgres

pytestmark = pytest.mark.servers
ADD = """
import sys, time
from pathlib import Path
from asgard_assets.operations.transforms.shared import SharedSubmissions
from asgard_assets.operations.transforms.submissions import Submission
shared = SharedSubmissions(Path(sys.argv[2]), sys.argv[1])
won = [shared.add(Submission(f"{n:08x}", "silver/x", 1, float(n))) for n in range(200)]
print(sum(won))
"""
HOLD = """
import sys, time
from pathlib import Path
from asgard_assets.operations.transforms.shared import SharedSubmissions
with SharedSubmissions(Path(sys.argv[2]), sys.argv[1]).claimed("aaaaaaaa") as mine:
    print(mine, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(tmp_path_factory.mktemp("postgres") / "pg") as server:
        yield f"postgresql://{server.user}@127.0.0.1:{server.port}/{server.database}"


def start(code: str, url: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, url, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_of_two_gateways_one_adds_a_run(url: str, tmp_path: Path):
    both = [start(ADD, url, tmp_path / name) for name in ("one", "two")]
    won = [int(process.communicate()[0]) for process in both]
    assert sum(won) == 200 and all(process.returncode == 0 for process in both)


def test_a_run_is_claimed_by_one_and_free_when_its_process_is_killed(url: str, tmp_path: Path):
    other, mine = start(HOLD, url, tmp_path / "other"), SharedSubmissions(tmp_path / "mine", url)
    try:
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        with mine.claimed("aaaaaaaa") as free:
            assert not free
        other.kill()
        other.wait()
        with mine.claimed("aaaaaaaa") as free, mine.claimed("bbbbbbbb") as another:
            assert free and another
    finally:
        other.kill()
        other.wait()


def test_what_one_gateway_was_sent_another_tells(url: str, tmp_path: Path):
    settings = Settings(home=tmp_path, database_url=url)
    one, two = (submissions_of(settings) for _ in range(2))
    sent = Submission("cccccccc", "silver/daily", 3, 9e9, "sales", "ann")
    assert queued(one, sent) == sent == two.get("cccccccc") == two.all()[0]
    assert two.outcome("cccccccc") is None and two.get("../x") is None
    one.finish("cccccccc", Outcome(True, 1.0, reasons=("x",)))
    two.finish("cccccccc", Outcome(False, 2.0))
    assert one.outcome("cccccccc") == two.outcome("cccccccc") == Outcome(True, 1.0, reasons=("x",))
    two.forget("cccccccc")
    assert one.get("cccccccc") is None


def test_accounts_of_several_gateways_are_the_same(url: str):
    with ThreadPoolExecutor(4) as pool:  # each makes the tables, and the rules of the audit log
        one, two, *_ = pool.map(lambda _: Accounts(url), range(4))
    one.add("ann", "editor", ("sales",))
    key = one.new_key("ann")
    found = two.caller(key)
    assert found is not None and found.workspaces == ("sales",)
    two.note("ann", "r-1", "POST /sink", 201)
    import sqlalchemy as sa

    with sa.create_engine(url).begin() as connection:
        assert connection.execute(sa.text("delete from gateway_audit")).rowcount == 0
    assert [entry.account for entry in one.audit()] == ["ann"]
    one.revoke(key.split("_")[1])
    assert two.caller(key) is None
