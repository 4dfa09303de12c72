"""YAML of strangers is refused before it costs anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgard_assets.documents import may_be_bomb, refuse_bombs, refuse_bombs_in
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.openapi.document import Document
from asgard_assets.operations.outside.source_file import file_source_at
from tests.checkout import ROOT

BOMBS = {
    "aliases": "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)),
    "brackets": "a: " + "[" * 3000 + "]" * 3000,
    "dashes": "a:\n  " + "- " * 3000 + "x\n",
    "spaces": "".join(f"{' ' * i}a:\n" for i in range(150)),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_seen_and_refused(kind):
    assert may_be_bomb(BOMBS[kind])
    with pytest.raises(ConfigError, match="nested too deeply|is too long"):
        refuse_bombs(BOMBS[kind], "x.yaml")


@pytest.mark.parametrize("kind", BOMBS)
def test_no_way_in_reads_one(tmp_path: Path, kind):
    file = tmp_path / "defs.yaml"
    file.write_text(BOMBS[kind])
    for way in (refuse_bombs_in, lambda _: file_source_at(file)):
        with pytest.raises(ConfigError, match="nested too deeply|is too long"):
            way(tmp_path)


def test_the_files_of_this_repository_are_none():
    refuse_bombs_in(ROOT / "asgard_assets" / "defs")


def test_broken_yaml_is_left_to_who_reads_it(tmp_path: Path):
    (tmp_path / "defs.yaml").write_text("a: *nobody\nb: [")
    refuse_bombs_in(tmp_path)


@pytest.mark.parametrize("text", [BOMBS["aliases"], BOMBS["brackets"], "[" * 100_000])
def test_nor_does_the_description_of_an_api(tmp_path: Path, text):
    file = tmp_path / "api.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        Document.read(file)
