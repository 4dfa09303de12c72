"""`docs/files.md`, word for word: every file is put where it says, every command is typed, every answer compared."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from asgard_assets.settings import ROOT
from tests.end_to_end.homes import Home
from tests.end_to_end.test_readme import copy_of_the_repository

PAGE = (ROOT / "docs/files.md").read_text()
BLOCKS = re.findall(r"^```(yaml|console)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def answers(block: str) -> list[tuple[str, list[str]]]:
    """Each command of a block, and the lines that it must answer."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def test_every_link_of_the_page_leads_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target


@pytest.mark.servers
@pytest.mark.timeout(1800)
def test_the_page_on_files_does_what_it_says(tmp_path: Path):
    repository = copy_of_the_repository(tmp_path / "repository")
    home = Home(repository / ".asgard", repository)
    typed = 0
    for kind, text in BLOCKS:
        if kind == "yaml":
            place = repository / text.splitlines()[0].removeprefix("# ")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            continue
        for command, lines in answers(text):
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=repository,
                env=home.env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
            said = [line.rstrip() for line in done.stdout.splitlines()]
            for line in lines:
                pattern = re.escape(line.rstrip()).replace("…", ".*")
                assert any(re.fullmatch(pattern, each) for each in said), f"{command}\n{line}\n{done.stdout}"
            typed += 1
    assert typed > 15
