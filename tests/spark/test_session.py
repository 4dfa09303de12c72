"""What a Spark session needs is fetched where it is missing: after `uv sync` nobody ran `make setup`."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings
from asgard_assets.spark import session
from asgard_assets.spark.session import session_conf


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """An empty cache, and which folders were filled."""
    monkeypatch.setenv("ASGARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path / "home"))
    found: list[Path] = []
    monkeypatch.setattr(session, "fetch", lambda settings: found.append(settings.cache))
    return found


def test_missing_jars_are_fetched(fetched: list[Path], tmp_path: Path):
    assert session_conf(Settings())["spark.app.name"] == "asgard"
    assert fetched == [tmp_path / "cache"]


def test_in_production_they_belong_to_the_image(fetched: list[Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASGARD_ENV", "production")
    monkeypatch.setenv("ASGARD_LAKE", "s3://lake/asgard")
    with pytest.raises(ConfigError, match="asgard image"):
        session_conf(Settings())
    assert not fetched
