"""Text of strangers, as a person may see it: shown as it is, and nothing in it is obeyed.

File names, cells, answers of APIs and logs may hold what a terminal or Markdown acts upon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

# Escapes and other control characters, and those that turn the direction of what follows.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_MARKS = re.compile(r"[\\|`\[\]!]|(?<=\])\(|(?<=www)\.")


def visible(text: str) -> str:
    """For a terminal: control characters as `\\x1b`. Line ends and tabs stay."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def inline(value: Any) -> str:
    """For Markdown, on one line: no picture, link, mention or HTML comes to life."""
    text = " ".join(visible("" if value is None else str(value)).split())
    text = _MARKS.sub(r"\\\g<0>", text).replace("<", "&lt;")
    text = text.replace("://", ":\\/\\/").replace("](", "]\\(")
    return re.sub(r"[@#](?=\w)", "\\g<0>\u2060", text)


def row(cells: Iterable[Any]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(map(inline, cells)) + " |"


def table(head: Sequence[Any], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table."""
    return "\n".join([row(head), "|" + " --- |" * len(head), *map(row, rows)])


def block(text: str, language: str = "") -> str:
    """A block of code in Markdown, which no line of the text can end."""
    longest = max((len(found) for found in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{visible(text)}\n{fence}"
