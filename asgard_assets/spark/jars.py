"""The Spark jars that pyspark does not bring (Delta, S3, Kafka): fetched once, checked, kept by version.

The Ivy inside pyspark does the fetching, so a user needs Python and a JDK, and nothing is resolved when a
session starts. Run as `python -m asgard_assets.spark.jars`.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings
from asgard_assets.spark.java import java

log = logging.getLogger(__name__)

LIST, NAME = Path(__file__).parent / "jar_list", "spark-jars"


def jar_folder(settings: Settings | None = None, listed: Path = LIST, name: str = NAME) -> Path:
    """Where the jars of this list are kept; the name changes when the list does."""
    settings = settings or Settings()
    version = hashlib.sha256((listed / "SHA256SUMS").read_bytes()).hexdigest()[:12]
    return settings.cache / name / version


def installed(settings: Settings | None = None, listed: Path = LIST, name: str = NAME) -> bool:
    """Whether every jar of the list is in its folder."""
    folder = jar_folder(settings, listed, name)
    return all((folder / jar).is_file() for jar in _checksums(listed))


def fetch(settings: Settings | None = None, listed: Path = LIST, name: str = NAME) -> Path:
    """Fetch the jars unless they are there; each must match its committed SHA-256. Returns their folder.

    `listed` holds the list (`ivy.xml`, `SHA256SUMS`) of other programs too; their jars are kept under `name`.

    Raises ConfigError where Java is missing, the registry cannot be reached or a checksum differs.
    """
    import pyspark

    folder, sums = jar_folder(settings, listed, name), _checksums(listed)
    if installed(settings, listed, name):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    ivy = next((Path(pyspark.__file__).parent / "jars").glob("ivy-*.jar"))
    log.info("fetching %d jars into %s", len(sums), folder)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetch-") as scratch:
        new = Path(scratch) / "jars"
        command = [
            java(),
            "-jar",
            str(ivy),
            "-cache",
            f"{scratch}/ivy",
            "-ivy",
            str(listed / "ivy.xml"),
            "-confs",
            "default",
        ]
        command += ["-retrieve", f"{new}/[artifact]-[revision].[ext]"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wrong = [jar for jar, sha in sums.items() if _sha256(new / jar) != sha]
        if wrong:
            raise ConfigError(
                f"{name}: jars missing or changed: {', '.join(wrong)}. Is Maven Central reachable? Ivy said:\n"
                + "\n".join((done.stdout + done.stderr).splitlines()[-15:])
            )
        try:
            new.rename(folder)
        except OSError:
            if not installed(settings, listed, name):
                raise
    return folder


def _checksums(listed: Path) -> dict[str, str]:
    lines = (listed / "SHA256SUMS").read_text().splitlines()
    return {name: sha for sha, name in (line.split() for line in lines if line)}


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        fetch()
    except ConfigError as error:
        sys.exit(f"asgard: {error}")
