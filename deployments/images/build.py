"""The images of the test cluster, without Docker: `python -m deployments.images.build [--import] asgard …`.

`asgard` is the project's Spark image, the same that `asgard image` builds; the others are for the cluster's tests alone.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from asgard_assets.images import layers
from asgard_assets.images.layers import (
    APP,
    ENVIRONMENT,
    SPARK_USER,
    base,
    compiled,
    folder,
    install,
    layer,
    packages,
    passwd,
    spark,
    spark_image,
)
from asgard_assets.images.oci import write_archive
from asgard_assets.images.tar import commands, directory, put, text
from asgard_assets.project import current

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
TESTED = (
    "tests/cluster/stories.py",
    "tests/cluster/program.py",
    "tests/cluster/piped.py",
    "tests/resources/launched.py",
    "tests/fakes/python_launcher.py",
)
CODE = (
    "asgard_assets",
    "dbt",
    "dbt_project",
    "deployments/local/dagster.yaml",
    "feature_repo",
    "pyproject.toml",
)
"""What of the project a pod runs, or reads while it runs. The Dockerfile copies the same."""
PLATFORM_USER = "asgard:x:10001:10001:asgard:/home/asgard:/bin/sh\n"


def code_files() -> list[Path]:
    """The files of platform and project that are in both images, dbt's prepared manifest among them."""
    return list(layers.code_files(current()).values())


def platform() -> Path:
    """What Dagster's own processes need beside the Spark image's packages: their history in Postgres, a user, a home.

    For the cluster's tests. The platform image proper holds all of requirements.lock, by the Dockerfile.
    """
    lock = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", lock)
    listed = (
        "\n".join(b for b in blocks if b.split("==")[0] in ("dagster-postgres", "psycopg2-binary")) + "\n"
    )

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch, tarfile.open(target, "w") as tar:
            (Path(scratch) / "lock").write_text(listed)
            install(Path(scratch) / "lock", Path(scratch) / "packages")
            compiled(Path(scratch) / "packages", "/opt/packages")
            put(tar, Path(scratch) / "packages", "opt/packages", leave=r"^opt/packages/(bin|\.lock)(/|$)")
            text(tar, "etc/passwd", passwd() + SPARK_USER + PLATFORM_USER)
            modules = (("dagster", "dagster.__main__"), ("dagster-daemon", "dagster._daemon.cli"))
            commands(tar, {name: f"from {module} import main; main()" for name, module in modules})
            for path in ("opt/dagster", "opt/dagster/dagster_home", "home/asgard"):
                directory(tar, path, 0o1777)

    return layer("platform", (listed + PLATFORM_USER).encode(), make)


def tests(name: str) -> Path:
    """What the cluster's tests run; `other` has one file more, and so is of another version."""
    files = {path: (ROOT / path).read_bytes() for path in TESTED}
    if name == "other":
        files["asgard_assets/other.py"] = b""
    inputs = b"".join(path.encode() + b"\0" + body for path, body in files.items())

    def make(target: Path) -> None:
        with tarfile.open(target, "w") as tar:
            for path, body in files.items():
                text(tar, f"{APP}/{path}", body.decode())

    return layer(f"tests-{name}", inputs, make)


def operator() -> Path:
    """The Spark operator's binary and entry point, from the cluster's build."""
    built = Path(os.environ["ASGARD_CLUSTER_BUILT"])

    def make(target: Path) -> None:
        with tarfile.open(target, "w") as tar:
            put(tar, built / "bin/spark-operator", "usr/bin/spark-operator", mode=0o755)
            put(tar, built / "operator/entrypoint.sh", "usr/bin/entrypoint.sh", mode=0o755)
            for path in ("etc/k8s-webhook-server/serving-certs", "home/spark"):
                directory(tar, path, 0o777)

    return layer("operator", str(built).encode(), make)


def pause() -> Path:
    built = Path(os.environ["ASGARD_CLUSTER_BUILT"])

    def make(target: Path) -> None:
        with tarfile.open(target, "w") as tar:
            put(tar, built / "bin/pause", "pause", mode=0o755)

    return layer("pause", str(built).encode(), make)


def image(name: str) -> tuple[str, dict[str, object], list[Path]]:
    """Reference, configuration and layers of an image."""
    environment = [f"{key}={value}" for key, value in ENVIRONMENT.items()]
    run_as = {"WorkingDir": "/opt/spark/work-dir", "Env": environment}
    if name in ("asgard", "test", "other"):
        config, made = spark_image(current())
        if name != "asgard":
            made.append(tests(name))
        return f"localhost/asgard:{'latest' if name == 'asgard' else name}", config, made
    if name == "platform":
        config = {
            **run_as,
            "WorkingDir": "/opt/dagster",
            "User": "10001",
            "Entrypoint": ["/usr/bin/tini", "--"],
        }
        return (
            "localhost/asgard:platform",
            config,
            [base(), spark(), packages(), layers.code(current()), tests("test"), platform()],
        )
    if name == "operator":
        config = {**run_as, "User": "185:185", "Entrypoint": ["/usr/bin/entrypoint.sh"]}
        return "localhost/spark-operator:2.5.1", config, [base(), spark(), operator()]
    if name == "trivial":  # a driver that ends at once: for counts of applications, not for Spark
        return "localhost/trivial:test", {**run_as, "User": "185", "Entrypoint": ["/bin/true"]}, [base()]
    if name == "pause":
        return "localhost/pause:3", {"Entrypoint": ["/pause"]}, [pause()]
    raise SystemExit(
        f"images: no image {name!r}; there are asgard, test, other, platform, trivial, operator and pause"
    )


def import_image(name: str) -> None:
    """Hand the image to containerd (CONTAINERD_ADDRESS); layers that it has are not copied again."""
    reference, config, made = image(name)
    listed = subprocess.run(
        ["ctr", "-n", "k8s.io", "content", "ls", "-q"], capture_output=True, text=True, check=True
    )
    with tempfile.NamedTemporaryFile(suffix=".tar", dir=folder()) as archive:
        command = ["ctr", "-n", "k8s.io", "images", "import", archive.name]
        for present in (set(listed.stdout.split()), set[str]()):
            write_archive(Path(archive.name), reference, config, made, present)
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if not done.returncode:
                break
            # A layer that was there a moment ago can have been collected as garbage: then all are copied.
            log.info("%s", done.stderr.strip()[-300:])
        else:
            raise SystemExit(f"images: containerd did not take {reference}")
    log.info("imported %s", reference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--import", dest="imported", action="store_true", help="hand the images to containerd"
    )
    parser.add_argument("--output", type=Path, help="write one image as an OCI archive")
    parser.add_argument("names", nargs="+", help="asgard, test, other, platform, trivial, operator, pause")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in given.names:
        if given.imported:
            import_image(name)
        else:
            reference, config, made = image(name)
            if given.output:
                write_archive(given.output, reference, config, made)
                log.info("%s: %s", reference, given.output)


if __name__ == "__main__":
    main()
