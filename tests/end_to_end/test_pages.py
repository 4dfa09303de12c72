"""Pages of the docs, word for word: every file is put where it says, every command typed, every answer compared."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from asgard_assets.errors import ConfigError
from deployments.local.logins import keycloak
from tests.checkout import ROOT
from tests.end_to_end.homes import Demo, Home
from tests.end_to_end.test_readme import copy_of_the_repository
from tests.required import missing


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of what the page puts or types."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(r"^```(yaml|python|sql|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def answers(block: str) -> list[tuple[str, list[str]]]:
    """Each command of a block, and the lines that it must answer."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def follow(page: str, home: Home) -> int:
    """Do what the page says in the home's repository; returns how many commands were typed."""
    typed = 0
    for kind, text in blocks(page):
        if kind != "console":
            place = home.repository / re.sub(r"^(#|--) ", "", text.splitlines()[0])
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            continue
        for command, lines in answers(text):
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=home.repository,
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
    return typed


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_every_link_of_a_page_leads_somewhere(page: str):
    for target in re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", (ROOT / "docs" / page).read_text()):
        assert (ROOT / "docs" / target).exists(), target


@pytest.mark.servers
@pytest.mark.timeout(1800)
def test_the_page_on_files_does_what_it_says(tmp_path: Path):
    repository = copy_of_the_repository(tmp_path / "repository")
    assert follow("files.md", Home(repository / ".asgard", repository)) > 15


@pytest.mark.servers
@pytest.mark.timeout(1800)
def test_the_page_on_logins_does_what_it_says(tmp_path: Path):
    try:
        keycloak.installed()
    except ConfigError as error:
        missing(str(error))
    repository = copy_of_the_repository(tmp_path / "repository")
    (repository / ".venv").symlink_to(Path(sys.prefix))
    home = Home(repository / ".asgard", repository)
    try:
        assert follow("logins.md", home) > 7
    finally:
        subprocess.run(["make", "logins-down"], cwd=repository, env=home.env, check=False)


@pytest.mark.servers
@pytest.mark.timeout(1800)
def test_the_tutorial_does_what_it_says(demo: Demo, tmp_path: Path):
    repository = copy_of_the_repository(tmp_path / "repository")
    home = Home(repository / ".asgard", repository, demo.api_port, demo.airbyte_port)
    demo.copy_to(home.path)
    assert follow("tutorial.md", home) > 12
