"""The number in `.ci/rotation`: which parts of the tests are due. Each landing raises it by one.

    python -m tests.ci.rotation check | raise

CI keeps nothing between its runs, so the number is committed. It is compared with the commit from which the
change starts: ASGARD_BASE, or where the branch left origin/main, or else the oldest commit at which this clone
has seen main. A plain clone, or a source archive, has no change and nothing to raise.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.checkout import ROOT

FILE = ".ci/rotation"
Git = Callable[..., str]


def git_in(root: Path) -> Git:
    """What a git command prints, empty where it fails."""

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    return git


def base_of_the_change(git: Git) -> str | None:
    """The newest commit of main that is not part of this change; None where nobody knows."""
    if given := os.environ.get("ASGARD_BASE"):
        return git("merge-base", given, "HEAD") or None
    seen = "origin/main" if git("rev-parse", "--verify", "-q", "origin/main") else ""
    oldest = git("reflog", "show", "--format=%H", "main").splitlines()[-1:]
    for main in [seen, *oldest]:
        if main:
            return git("merge-base", main, "HEAD") or None
    return None


def read(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0


def wanted(root: Path, git: Git) -> int:
    """The number that this change must have: one more than where it starts, if it changes anything."""
    base = base_of_the_change(git)
    here = read((root / FILE).read_text()) if (root / FILE).exists() else 0
    if base is None or not git("diff", "--name-only", base, "HEAD", "--", ".", f":!{FILE}"):
        return here
    return read(git("show", f"{base}:{FILE}")) + 1


def changed_files(git: Git) -> list[str]:
    """The files of this change; of the last two landings where its base is unknown, as in most CI."""
    base = base_of_the_change(git)
    if base is None or base == git("rev-parse", "HEAD"):
        raised = git("log", "--format=%H", "-2", "--", FILE).splitlines()
        base = raised[1] if len(raised) == 2 else None
    return git("diff", "--name-only", base, "HEAD").splitlines() if base else []


def check(root: Path, git: Git) -> str | None:
    """What is wrong, or None."""
    number = read((root / FILE).read_text())
    right = wanted(root, git)
    guessed = not (os.environ.get("ASGARD_BASE") or git("rev-parse", "--verify", "-q", "origin/main"))
    landed_since = guessed and number > right  # what this clone saw first may be several landings old
    if number != right and not landed_since:
        return f"{FILE} is {number} and must be {right} in this change: make rotation, and commit it"
    return None


def main() -> None:
    git = git_in(ROOT)
    if sys.argv[1:] == ["raise"]:
        number = wanted(ROOT, git)
        (ROOT / FILE).write_text(f"{number}\n")
        print(f"{FILE}: {number}")
    elif problem := check(ROOT, git):
        sys.exit(problem)


if __name__ == "__main__":
    main()
