"""The pages can be read: no sentence is too long, and every link leads to a page, and to a heading of it."""

from __future__ import annotations

import re

import pytest

from tests.checkout import ROOT

PAGES = [
    "README.md",
    "CHANGELOG.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
]
GENERATED = [page for page in PAGES if page.startswith("docs/reference/")]
MOST_WORDS = 32
_BLOCK = re.compile(r"^```.*?^```$|<!--.*?-->", re.MULTILINE | re.DOTALL)
_PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.)\s)|\n(?=[#|])")
_SENTENCE = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z`*\[(\"'])")
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")


def sentences(text: str) -> list[str]:
    """The sentences of a page, without tables and code blocks."""
    paragraphs = (part.strip() for part in _PARAGRAPH.split(_BLOCK.sub("\n\n", text)))
    return [
        sentence
        for part in paragraphs
        if not part.startswith("|")
        for sentence in _SENTENCE.split(" ".join(part.split()))
    ]


def words(sentence: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def headings(text: str) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", _BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED])
def test_no_sentence_is_too_long(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    long = [sentence for sentence in sentences(text) if words(sentence) > MOST_WORDS]
    assert not long, f"{page}: split these sentences; they have more than {MOST_WORDS} words: {long}"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_page_and_its_heading(page: str):
    for target, anchor in _LINK.findall(_BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            assert anchor in headings(path.read_text(encoding="utf-8")), f"{target}#{anchor}"


def test_every_command_and_setting_that_a_page_names_exists():
    import typer

    from asgard_assets.cli.main import app
    from asgard_assets.settings import Settings

    commands = set(getattr(typer.main.get_command(app), "commands"))  # noqa: B009
    settings = {f"ASGARD_{name.upper()}" for name in Settings.model_fields}
    places = ("asgard_assets", "deployments", "tests/end_to_end")
    code = "".join(
        path.read_text(encoding="utf-8") for place in places for path in sorted((ROOT / place).rglob("*.py"))
    )
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        typed = "\n".join([*re.findall(r"`([^`\n]+)`", text), *_BLOCK.findall(text)])
        assert set(re.findall(r"(?:^|[\s$(/])asgard ([a-z][a-z-]*)", typed)) <= commands, page
        named = set(re.findall(r"\bASGARD_[A-Z_]+\b", text))
        assert {name for name in named - settings if name not in code} == set(), page


def test_sentences_are_found_outside_tables_and_code():
    text = "# Title\n\nOne. Two, `and`\nmore.\n\n| a | b |\n|---|---|\n\n```\ncode. More\n```\n- An item\n- Another: `x`\n"
    assert sentences(text) == ["# Title", "One.", "Two, `and` more.", "- An item", "- Another:", "`x`"]
    assert words("- One `two`, three — four") == 4
