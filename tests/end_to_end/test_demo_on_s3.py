"""The whole demo with its lake on a real S3 server: the same tables as on a local disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgard_assets.lake import Lake
from tests.end_to_end.homes import OF_ONE_DEMO, Demo, Home, fingerprint
from tests.servers.s3 import s3
from tests.servers.s3_tokens import guarded

pytestmark = [pytest.mark.soak, pytest.mark.servers, pytest.mark.timeout(3000)]


def test_the_demo_on_s3_makes_the_tables_of_the_demo_on_disk(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3(tmp_path / "s3", "lake") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        home = Home(tmp_path / "home")
        home.path.mkdir()
        done = home.run("asgard", "demo", timeout=2400, ASGARD_LAKE="s3://lake/demo", **server.environment)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        there = fingerprint(Lake("s3://lake/demo", server.endpoint), without=OF_ONE_DEMO)
        here = fingerprint(demo.lake, without=OF_ONE_DEMO)
    early = {name for name in here if name.startswith(("bronze/", "silver/", "rejected/", "gold/"))}
    assert len(early) >= 10
    assert {name: there.get(name) for name in early} == {name: here[name] for name in early}
    assert set(there) == set(here)


def test_the_demo_goes_on_when_tokens_run_out_and_one_is_revoked(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token of a day's first file of bronze/usage is revoked while it is written."""
    with guarded(tmp_path / "s3", "lake", seconds=120, revoke="/bronze/usage/") as door:
        for name, value in door.environment.items():
            monkeypatch.setenv(name, value)
        home = Home(tmp_path / "home")
        home.path.mkdir()
        done = home.run("asgard", "demo", timeout=2400, ASGARD_LAKE="s3://lake/demo", **door.environment)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        there = fingerprint(Lake("s3://lake/demo", door.endpoint), without=OF_ONE_DEMO)
        here = fingerprint(demo.lake, without=OF_ONE_DEMO)
        counts = door.counts()
    assert counts["ended"] >= 2 and counts["revoked"] == 1, counts
    early = {name for name in here if name.startswith(("bronze/", "silver/", "rejected/", "gold/"))}
    assert {name: there.get(name) for name in early} == {name: here[name] for name in early}
    assert set(there) == set(here)
