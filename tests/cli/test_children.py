"""What a command started ends with it, however its parent is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from asgard_assets.cli.children import MARK, end, left_over
from tests.checkout import ROOT
from tests.patience import patience, wait_until

# A child that leaves its session and ignores what it is told, with a parent that does not wait for it.
STUBBORN = (
    "import os, signal, time; os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
)
FAMILY = (
    f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); "
    "print('up', flush=True); time.sleep(600)"
)
PARENT = f"""
import os, signal, sys
from asgard_assets.cli.children import start
keeper = start([sys.executable, "-c", {FAMILY!r}], sys.argv[1], dict(os.environ))
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, lambda *_: keeper.terminate())
sys.exit(keeper.wait())
"""


def parent(home: str, ignore_interrupts: bool = False) -> subprocess.Popen[str]:
    def before() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN if ignore_interrupts else signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(ROOT)], cwd=ROOT, env={**os.environ, MARK: home},
        stdout=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=before,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    wait_until(lambda: len(left_over(home)) == 4, 30, "parent, keeper, child and grandchild run")
    return process


@pytest.mark.parametrize("ignored", [False, True], ids=["as systemd starts it", "in the background"])
def test_what_was_started_ends_with_the_one_who_is_told_to_end(tmp_path, ignored: bool):
    process = parent(str(tmp_path), ignored)
    process.terminate()
    process.wait(patience(30))
    assert left_over(str(tmp_path)) == []


def test_what_was_started_ends_where_its_parent_was_killed(tmp_path):
    process = parent(str(tmp_path))
    process.kill()
    process.wait(patience(30))
    wait_until(lambda: not left_over(str(tmp_path)), 30, "all have ended")


def test_what_a_killed_family_left_is_found_and_can_be_ended(tmp_path):
    process = parent(str(tmp_path))
    left = left_over(str(tmp_path))
    keeper = next(each for each in left if each.ppid() == process.pid)
    os.kill(process.pid, signal.SIGSTOP)
    keeper.kill()
    process.kill()
    process.wait(patience(30))
    others = {each.pid for each in left} - {process.pid, keeper.pid}
    wait_until(
        lambda: {each.pid for each in left_over(str(tmp_path))} == others, 30, "child and grandchild are left"
    )
    end(left_over(str(tmp_path)))
    assert not [each for each in left if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
