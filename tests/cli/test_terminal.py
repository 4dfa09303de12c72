"""Progress: what a line of it says, and that it is quiet where nobody looks."""

from __future__ import annotations

from asgard_assets.cli.terminal import look_line, looking, run_line


def test_a_line_says_what_how_far_how_fast_and_when_it_is_done():
    line = run_line("[1/2] silver/usage", 30, done=10, planned=40, running="silver/usage", expected=None)
    assert line == "[1/2] silver/usage · 10/40 partitions · 0.3/s · silver/usage · 0:30 · done in about 1:30"
    assert run_line("model", 30, 0, 0, "", expected=90) == "model · 0:30 · done in about 1:00"
    assert run_line("model", 30, 0, 0, "", expected=None) == "model · 0:30"
    assert run_line("model", 30, 0, 0, "", expected=10) == "model · 0:30"


def test_a_listing_says_how_many_files_and_how_fast():
    assert look_line("listing orders", 12_000, 60) == "listing orders · 12,000 files · 200/s · 1:00"
    assert look_line("reading orders", 0, 5) == "reading orders · 0:05"


def test_nothing_is_shown_in_a_pipe(capfd):
    with looking("reading orders") as tell:
        tell("reading on", 1000)
    assert capfd.readouterr() == ("", "")
