"""Ctrl-C in a demo, at any moment and more than once: it says what is left, and nothing stays behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from asgard_assets.demo.interrupts import Interrupted, interruptible, presses, undisturbed


def press() -> None:
    """Ctrl-C; Python handles it before the next line."""
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_it_says_what_is_left_and_a_second_one_does_not_disturb_the_cleaning_up() -> None:
    cleaned = False
    with pytest.raises(Interrupted, match="the next demo goes on from there"):
        with interruptible():
            try:
                with interruptible():
                    press()
            finally:
                press()
                cleaned = True
    assert cleaned
    press()  # also while the error is printed


def test_a_run_that_was_interrupted_counts_too() -> None:
    with pytest.raises(Interrupted, match="interrupted: online store. What was published stays"):
        with interruptible():
            raise Interrupted("online store")
    press()


def test_a_press_is_known_whoever_handles_it() -> None:
    with presses() as pressed:
        assert not pressed()
        signal.signal(signal.SIGINT, lambda *_: None)
        press()
        assert pressed() and not pressed()


def test_sources_are_ended_in_peace_and_then_it_counts_again() -> None:
    with undisturbed():
        press()
    with pytest.raises(KeyboardInterrupt):
        press()
