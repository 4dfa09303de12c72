"""The log store's jar is in the wheel: no JDK is needed to use it, and it is what its Java says."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from asgard_assets.settings import Settings
from asgard_assets.spark import log_store


def test_the_jar_is_compiled_from_the_java_beside_it():
    assert log_store.compiled_from() == log_store.of_sources(), "run: python -m asgard_assets.spark.log_store"
    with zipfile.ZipFile(log_store.SHIPPED) as archive:
        names = archive.namelist()
    assert {f"{name.replace('.', '/')}.class" for name in (log_store.CLASS, log_store.KEYS)} <= set(names)


def test_it_is_put_into_the_cache_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASGARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert shutil.which("javac") is None
    placed = log_store.build(Settings())
    assert placed.read_bytes() == log_store.SHIPPED.read_bytes()
    assert placed.is_relative_to(tmp_path / "cache")
    assert [path.name for path in placed.parent.iterdir()] == [placed.name]
