"""What every Submitter promises, one function a promise; each place where drivers run calls all of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from asgard_assets.spark.submit import Driver, Handle, Submitter
from tests.patience import patience

MakeDriver = Callable[[str], Driver]
"""From a piece of Python to a driver that runs it."""


def ended(submitter: Submitter, handle: Handle, seconds: float = 300) -> int | None:
    deadline = time.monotonic() + patience(seconds)
    while not (state := submitter.state(handle)).ended:
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    return state.exit_code


def reports_the_exit_code_and_all_of_the_output(submitter: Submitter, driver: MakeDriver) -> None:
    handle = submitter.submit(driver("import os, sys; print('colour', os.environ['COLOUR']); sys.exit(3)"))
    try:
        assert ended(submitter, handle) == 3
        text, cursor = submitter.logs(handle)
        assert "colour blue" in text
        assert submitter.logs(handle, cursor)[0] == ""
    finally:
        submitter.cancel(handle)


def ends_a_driver_that_is_cancelled_and_again(submitter: Submitter, driver: MakeDriver) -> None:
    handle = submitter.submit(driver("import time; print('asleep', flush=True); time.sleep(600)"))
    deadline = time.monotonic() + patience(300)
    text, cursor = "", 0
    while "asleep" not in text:
        assert time.monotonic() < deadline and not submitter.state(handle).ended, text
        new, cursor = submitter.logs(handle, cursor)
        text += new
        time.sleep(0.1)
    submitter.cancel(handle, grace_seconds=1)
    assert submitter.state(handle).exit_code != 0
    submitter.cancel(handle)
    submitter.forget(handle)


ALL = (reports_the_exit_code_and_all_of_the_output, ends_a_driver_that_is_cancelled_and_again)
