"""What Spark needs for S3, Delta's log store and the keys: compiled once with the JDK's own compiler, kept by version."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings
from asgard_assets.spark.jars import fetch

log = logging.getLogger(__name__)

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.java")))
CLASS = "asgard.ConditionalLogStore"
KEYS = "asgard.FreshKeys"


def jar(settings: Settings | None = None) -> Path:
    """Where the compiled classes are kept; the name changes when their sources do."""
    version = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES)).hexdigest()[:12]
    return (settings or Settings()).cache / "log-store" / version / "log-store.jar"


def build(settings: Settings | None = None) -> Path:
    """Compile it unless it is there; returns the jar. Raises ConfigError where there is only a JRE."""
    settings = settings or Settings()
    target = jar(settings)
    if target.is_file():
        return target
    home = os.environ.get("JAVA_HOME")
    compiler = shutil.which("javac", path=f"{home}/bin" if home else None)
    if compiler is None:
        raise ConfigError(
            "no javac found: a lake on S3 needs a JDK once, to compile Delta's log store. Install one (Debian: "
            "apt-get install openjdk-17-jdk-headless) or set JAVA_HOME"
        )
    pyspark = find_spec("pyspark")
    if pyspark is None or pyspark.origin is None:
        raise ConfigError("pyspark is not installed; run `make setup`")
    path = f"{Path(pyspark.origin).parent / 'jars'}/*:{fetch(settings)}/*"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        command = [compiler, "--release", "17", "-cp", path, "-d", scratch, *map(str, SOURCES)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigError(f"the log store does not compile:\n{done.stderr.strip()}")
        new = Path(scratch) / "log-store.jar"
        with zipfile.ZipFile(new, "w") as archive:
            for file in sorted(Path(scratch).rglob("*.class")):
                archive.write(file, file.relative_to(scratch))
        new.replace(target)
    log.info("compiled Delta's log store into %s", target)
    return target
