"""Spark's keys for S3 come from where Python's come from, and are those of now."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from asgard_assets.settings import Settings
from asgard_assets.spark import log_store
from asgard_assets.spark.jars import jar_folder, java
from tests.checkout import ROOT
from tests.patience import patience
from tests.servers.s3_tokens import KEYS, WAYS, Guarded, guarded

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("s3"), "lake", seconds=3600) as server:
        yield server


@pytest.mark.parametrize("way", WAYS)
def test_the_jvm_comes_by_the_same_keys(door: Guarded, way: str, tmp_path: Path) -> None:
    settings = Settings()
    found = find_spec("pyspark")
    assert found is not None and found.origin is not None
    path = f"{log_store.build(settings)}:{jar_folder(settings)}/*:{Path(found.origin).parent / 'jars'}/*"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [java(), "-cp", path, str(ROOT / "tests/spark/ShowKeys.java")],
        env=clean | door.way(way, tmp_path),
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert done.stdout.split() == [KEYS["AccessKeyId"], door.token()], done.stderr[-2000:]


def test_spark_goes_on_when_tokens_run_out_and_one_is_revoked(tmp_path: Path) -> None:
    with guarded(
        tmp_path / "s3", "lake", seconds=20, revoke="/bronze/keys/_delta_log/00000000000000000002"
    ) as door:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        own = {"ASGARD_LAKE": "s3://lake/x", "ASGARD_HOME": str(tmp_path), "ASGARD_SPARK_MEMORY": "512m"}
        done = subprocess.run(
            [sys.executable, "-m", "tests.spark.key_user", "5", "10"],
            cwd=ROOT,
            env=clean | own | door.environment,
            capture_output=True,
            text=True,
            timeout=patience(300),
            check=False,
        )
        counts = door.counts()
    assert done.returncode == 0, done.stderr[-4000:]
    assert counts["ended"] >= 2 and counts["revoked"] == 1 and counts["refused"] >= 1, counts
