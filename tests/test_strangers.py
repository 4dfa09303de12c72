"""Text of strangers is shown to people as it is; no terminal and no Markdown obeys it."""

from __future__ import annotations

import io
import logging
import re

import pytest

from asgard_assets import strangers
from asgard_assets.cli.terminal import Terminal, show_escapes_in_logs
from tests.checkout import ROOT

ESCAPES = [
    "\x1b]0;title\x07",
    "\x1b]52;c;ZWNobw==\x07",
    "\x1b[2J",
    "\x9b2J",
    "\x1bP1$q\x1b\\",
    "a\rb",
    "\x08",
    "\u202eevil",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_an_escape_is_shown(text):
    shown = strangers.visible(f"a{text}b\tc\nd")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert shown.startswith("a") and shown.endswith("b\tc\nd") and len(shown) > len(f"a{text}b\tc\nd")


@pytest.mark.parametrize("text", ESCAPES)
def test_the_console_of_the_command_line_shows_it_too(text):
    told = io.StringIO()
    Terminal(file=told, highlight=False, markup=False, soft_wrap=True).print(f"x{text}y")
    assert told.getvalue() == strangers.visible(f"x{text}y") + "\n"


@pytest.mark.parametrize("text", ESCAPES)
def test_a_log_shows_it_too(text, caplog):
    before = logging.getLogRecordFactory()
    show_escapes_in_logs()
    try:
        logging.getLogger("asgard").warning("not listed: %s", f"x{text}y")
    finally:
        logging.setLogRecordFactory(before)
    assert caplog.messages == ["not listed: " + strangers.visible(f"x{text}y")]


@pytest.mark.parametrize(
    "text, live",
    [
        ("![t](https://evil.example/p.png)", r"!\[|\]\(|://"),
        ("[reset](https://evil.example)", r"(?<!\\)\[|\]\(|://"),
        ("[x]: //evil", r"(?<!\\)\]:"),
        ("<img src=x>", "<"),
        ("@octocat #1", r"@o|#1"),
        ("https://evil.example", "://"),
        ("www.evil.example", r"www\."),
        ("`a`|b", r"(?<!\\)[`|]"),
        ("\\[x](y)", r"(?<!\\)(\\\\)*\["),
        ("a\n\n# head\n- item", "\n"),
    ],
)
def test_markdown_stays_text(text, live):
    assert not re.search(live, strangers.inline(text).replace("www\\.", ""))


def test_plain_text_stays_plain():
    assert strangers.inline("a_b-c (d) 1.5 {x: 2}, ä") == "a_b-c (d) 1.5 {x: 2}, ä"
    assert strangers.table(("a", "b"), [(1, None)]) == "| a | b |\n| --- | --- |\n| 1 |  |"


@pytest.mark.parametrize("text", ["```\n<b>", "`````", "x"])
def test_no_line_ends_a_block(text):
    lines = strangers.block(text).splitlines()
    assert lines[0] == lines[-1] and len(lines[0]) >= 3 and lines[0] not in lines[1:-1]


def test_commands_print_by_what_shows_escapes():
    for file in (ROOT / "asgard_assets" / "cli").rglob("*.py"):
        if file.name != "terminal.py":
            found = re.findall(r"typer\.echo\(|(?<![\w.])print\(|\bConsole\(|click\.echo\(", file.read_text())
            assert not found, f"{file}: {found}; use Terminal or echo of asgard_assets.cli.terminal"
