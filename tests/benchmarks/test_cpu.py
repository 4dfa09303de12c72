"""The benchmarks' CPU meter counts processes that nobody waits for, and nothing twice."""

import subprocess
import sys

import pytest

from tests.benchmarks.cpu import TreeCpu

USED = 0.4
PARENT = """
import os, signal, sys, time
signal.signal(signal.SIGCHLD, signal.{handler})
if (child := os.fork()) == 0:
    while time.process_time() < 0.4: pass
    print("used", flush=True)
    sys.stdin.readline()
    os._exit(0)
try: os.waitpid(child, 0)  # where the signal is ignored, this too gets no account
except ChildProcessError: pass
"""


@pytest.mark.parametrize("handler", ["SIG_IGN", "SIG_DFL"])
def test_a_child_is_counted_once_whether_or_not_somebody_waits_for_it(handler: str):
    with TreeCpu() as meter:
        command = [sys.executable, "-S", "-c", PARENT.format(handler=handler)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            meter.look()
    assert USED * 0.95 <= meter.seconds < USED * 1.9
