"""What Spark needs for S3, Delta's log store and the keys: a jar beside this file, compiled from the Java beside it.

A developer who changes the Java compiles it again: `python -m asgard_assets.spark.log_store`. A test compares both.
"""

from __future__ import annotations

import hashlib
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

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.java")))
SHIPPED = Path(__file__).parent / "log-store.jar"
CLASS = "asgard.ConditionalLogStore"
KEYS = "asgard.FreshKeys"
_STAMP = "META-INF/sources.sha256"


def jar(settings: Settings | None = None) -> Path:
    """Where the classes are kept for Spark; the name changes when their sources do."""
    return (settings or Settings()).cache / "log-store" / of_sources()[:12] / "log-store.jar"


def build(settings: Settings | None = None) -> Path:
    """Put the jar of this version where Spark looks for it, unless it is there. Needs no JDK."""
    target = jar(settings)
    if not target.is_file():
        if compiled_from() != of_sources():
            raise ConfigError(
                f"{SHIPPED} is older than its sources; run python -m asgard_assets.spark.log_store"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(SHIPPED, new)
        new.replace(target)
    return target


def of_sources() -> str:
    """SHA-256 of the Java beside this file."""
    return hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES)).hexdigest()


def compiled_from() -> str:
    """SHA-256 of the Java that the jar was compiled from."""
    with zipfile.ZipFile(SHIPPED) as archive:
        return archive.read(_STAMP).decode()


def compile_into(target: Path, settings: Settings | None = None) -> None:
    """Compile the Java into a jar, the same bytes by the same compiler. Raises ConfigError where there is only a JRE."""
    home = os.environ.get("JAVA_HOME")
    compiler = shutil.which("javac", path=f"{home}/bin" if home else None)
    pyspark = find_spec("pyspark")
    if compiler is None or pyspark is None or pyspark.origin is None:
        raise ConfigError(
            "no javac or no pyspark found: install a JDK (Debian: openjdk-17-jdk-headless) and run make setup"
        )
    path = f"{Path(pyspark.origin).parent / 'jars'}/*:{fetch(settings)}/*"
    with tempfile.TemporaryDirectory() as scratch:
        command = [compiler, "--release", "17", "-cp", path, "-d", scratch, *map(str, SOURCES)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigError(f"the log store does not compile:\n{done.stderr.strip()}")
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr(zipfile.ZipInfo(_STAMP), of_sources())
            for file in sorted(Path(scratch).rglob("*.class")):
                archive.writestr(zipfile.ZipInfo(file.relative_to(scratch).as_posix()), file.read_bytes())
