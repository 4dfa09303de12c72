"""Each landing raises the number once, and nobody else has to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.ci.rotation import FILE, changed_files, check, git_in, wanted


class Repository:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)

    def run(self, *arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
        subprocess.run(["git", *who, *arguments], cwd=self.path, check=True, capture_output=True)

    def commit(self, file: str, text: str) -> None:
        (self.path / file).parent.mkdir(exist_ok=True, parents=True)
        (self.path / file).write_text(text)
        self.run("add", "-A")
        self.run("commit", "-q", "-m", f"{file}")

    def clone(self, path: Path) -> Repository:
        self.run("clone", "-q", str(self.path), str(path))
        return Repository(path)

    def check(self) -> str | None:
        return check(self.path, git_in(self.path))


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.delenv("ASGARD_BASE", raising=False)
    made = Repository(tmp_path / "origin")
    made.run("init", "-q", "-b", "main")
    made.commit(FILE, "7\n")
    return made


def test_a_plain_clone_has_nothing_to_raise(origin: Repository, tmp_path: Path):
    assert origin.clone(tmp_path / "clone").check() is None


def test_a_change_raises_it_once_however_many_commits_it_has(origin: Repository, tmp_path: Path):
    clone = origin.clone(tmp_path / "clone")
    clone.commit("a.py", "1")
    assert "must be 8" in (clone.check() or "")
    clone.commit(FILE, "8\n")
    assert clone.check() is None
    clone.commit("b.py", "2")
    assert clone.check() is None
    assert wanted(clone.path, git_in(clone.path)) == 8
    clone.commit(FILE, "9\n")
    assert "must be 8" in (clone.check() or "")


def test_a_branch_is_compared_with_where_it_left_main(origin: Repository, tmp_path: Path):
    clone = origin.clone(tmp_path / "clone")
    clone.run("switch", "-q", "-c", "feature")
    clone.commit("a.py", "1")
    assert clone.check()
    clone.commit(FILE, "8\n")
    assert clone.check() is None


def test_without_a_remote_the_oldest_main_counts_that_the_clone_has_seen(origin: Repository, tmp_path: Path):
    clone = origin.clone(tmp_path / "clone")
    clone.run("remote", "remove", "origin")
    assert clone.check() is None
    clone.commit("a.py", "1")
    assert clone.check()
    clone.commit(FILE, "9\n")  # another change landed meanwhile
    assert clone.check() is None


def test_a_folder_without_git_has_nothing_to_raise(tmp_path: Path):
    (tmp_path / ".ci").mkdir()
    (tmp_path / FILE).write_text("3\n")
    assert check(tmp_path, git_in(tmp_path)) is None


def test_the_files_of_a_change_are_known_without_a_base_too(origin: Repository, tmp_path: Path):
    origin.commit("old.py", "1")
    origin.commit(FILE, "8\n")
    origin.commit("new.py", "1")
    origin.commit(FILE, "9\n")
    clone = origin.clone(tmp_path / "clone")
    assert changed_files(git_in(clone.path)) == [FILE, "new.py"]
    clone.commit("mine.py", "1")
    assert changed_files(git_in(clone.path)) == ["mine.py"]
