"""The Spark image of a project without Docker, as layers that are kept by what goes into them.

Debian with a JRE and Python, Spark from the pyspark wheel, the Spark jars, the packages of `spark.lock`, all of the Python
compiled, the platform's and the project's code last. A change of code costs seconds.
"""

from __future__ import annotations

import compileall
import hashlib
import logging
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from asgard_assets import project
from asgard_assets.errors import ConfigError
from asgard_assets.images.tar import commands, directory, link, put, text
from asgard_assets.project import Project, shipped
from asgard_assets.settings import Settings
from asgard_assets.spark import jars, log_store

log = logging.getLogger(__name__)

SUITE = "bookworm"
DEBIAN = ("openjdk-17-jre-headless", "python3", "tini", "procps")
LAYOUT = 3  # raise it when a layer is made in another way
APP = "opt/asgard"
COMMANDS = {"dbt": "from dbt.cli.main import cli; cli()"}
SPARK_USER = "spark:x:185:0:spark:/opt/spark:/bin/bash\n"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SPARK_HOME": "/opt/spark",
    "JAVA_HOME": "/usr/lib/jvm/java-17-openjdk-amd64",
    "PYTHONPATH": f"/{APP}:/opt/packages:/opt/py",
    "PYSPARK_PYTHON": "/usr/bin/python3",
    "PYTHONDONTWRITEBYTECODE": "1",
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "ASGARD_CACHE": "/opt/cache",
    "ASGARD_HOME": "/tmp/asgard",  # noqa: S108 - in the image
    # A pod may run as a user that the image does not name, whose home would be `/`.
    "HOME": "/tmp/asgard",  # noqa: S108
    "ASGARD_ENV": "local",
    "ASGARD_PROJECT": f"/{APP}",
}


def folder() -> Path:
    return Settings().cache / "images"


def layer(name: str, inputs: bytes, make: Callable[[Path], None]) -> Path:
    """The layer's tar, made by `make(target)` unless one of the same inputs is kept; older ones are removed."""
    target = folder() / f"{name}-{hashlib.sha256(str(LAYOUT).encode() + inputs).hexdigest()[:12]}.tar"
    if not target.is_file():
        folder().mkdir(parents=True, exist_ok=True)
        new = target.with_suffix(f".{os.getpid()}.new")
        log.info("making layer %s", target.name)
        make(new)
        new.replace(target)
        for old in folder().glob(f"{name}-????????????.*"):
            if old.stem != target.stem:
                old.unlink()
    return target


def base() -> Path:
    """Debian's packages. Made by mmdebstrap with the sources that apt itself uses."""

    def make(target: Path) -> None:
        sources = subprocess.run(
            ["apt-get", "indextargets", "--format", "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        with tempfile.TemporaryDirectory() as scratch:
            listed = Path(scratch) / "sources.list"
            listed.write_text("\n".join(sorted(set(sources.split("\n")))))
            tool, environment = _mmdebstrap(Path(scratch))
            clean = (
                "var/cache/apt",
                "var/lib/apt/lists",
                "usr/share/doc",
                "usr/share/locale",
                "usr/share/man",
            )
            hook = "rm -rf " + " ".join(f'"$1"/{path}/*' for path in clean)
            command = [*tool, "--mode=root", "--variant=minbase", f"--include={','.join(DEBIAN)}"]
            command += ["--aptopt=Acquire::Languages none", f"--customize-hook={hook}", "--format=tar"]
            with (Path(scratch) / "log").open("w+") as said:
                done = subprocess.run(
                    [*command, SUITE, str(target), str(listed)],
                    env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False,
                )  # fmt: skip
                if done.returncode:
                    said.seek(0)
                    raise ConfigError("mmdebstrap could not make the Debian layer:\n" + said.read()[-2000:])

    return layer("base", repr((SUITE, DEBIAN)).encode(), make)


def _mmdebstrap(scratch: Path) -> tuple[list[str], dict[str, str]]:
    installed = shutil.which("mmdebstrap")
    if installed:
        return [installed], dict(os.environ)
    subprocess.run(["apt-get", "download", "-q", "mmdebstrap"], cwd=scratch, check=True, capture_output=True)
    (package,) = scratch.glob("mmdebstrap*.deb")
    subprocess.run(["dpkg", "-x", str(package), str(scratch / "root")], check=True)
    return (
        ["perl", str(scratch / "root/usr/bin/mmdebstrap")],
        {**os.environ, "PERL5LIB": str(scratch / "root/usr/share/perl5")},
    )


def spark() -> Path:
    """Spark as the pyspark wheel of the lock file holds it, and the entry point."""
    import py4j
    import pyspark

    entrypoint = shipped("images/entrypoint.sh")
    connect = [shipped(f"images/{name}-connect-server.sh") for name in ("start", "stop")]

    def make(target: Path) -> None:
        with tarfile.open(target, "w") as tar:
            for source, path in (
                (Path(pyspark.__file__).parent, "opt/spark"),
                (Path(py4j.__file__).parent, "opt/py/py4j"),
            ):
                put(tar, source, path, leave=r"/(__pycache__|examples|tests|licenses)(/|$)")
                with tempfile.TemporaryDirectory() as scratch:
                    copy = Path(scratch) / "copy"
                    leave = shutil.ignore_patterns(
                        "__pycache__", "examples", "tests", "licenses", "jars", "*.zip"
                    )
                    shutil.copytree(source, copy, ignore=leave)
                    compiled(copy, f"/{path}")
                    for made in copy.rglob("__pycache__"):
                        put(tar, made, f"{path}/{made.relative_to(copy)}")
            link(tar, "opt/py/pyspark", "/opt/spark")
            put(tar, entrypoint, "opt/entrypoint.sh", mode=0o755)
            for script in connect:
                put(tar, script, f"opt/spark/sbin/{script.name}", mode=0o755)
            for path in ("opt/spark/work-dir", "opt/spark/conf"):
                directory(tar, path, 0o775)
            text(tar, "etc/passwd", passwd() + SPARK_USER)

    scripts = b"".join(script.read_bytes() for script in (entrypoint, *connect))
    return layer("spark", pyspark.__version__.encode() + scripts, make)


def compiled(folder: Path, path: str) -> None:
    """Compile the Python below `folder`, which will lie at `path`: no pod has to, each time it starts.

    By content, not by time. The image's Python is Debian's 3.11; one that differs here would compile for itself.
    """
    if sys.version_info[:2] == (3, 11):
        compileall.compile_dir(
            folder,
            ddir=path,
            quiet=2,
            workers=0,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def passwd() -> str:
    with tarfile.open(base()) as tar:
        file = tar.extractfile("./etc/passwd")
        assert file is not None
        return file.read().decode()


def packages() -> Path:
    """Delta's and S3's jars with the log store, and the Python packages of `spark.lock`, hashes checked."""
    lock = shipped("images/spark.lock")
    own = jars.LIST / "SHA256SUMS"

    def make(target: Path) -> None:
        leave = r"^opt/packages/(bin|\.lock|pyarrow/include|(pandas|numpy|pyarrow|sqlalchemy)/.*tests)(/|$)"
        with tempfile.TemporaryDirectory() as scratch, tarfile.open(target, "w") as tar:
            listed = Path(scratch) / "spark.lock"
            listed.write_text(without(lock.read_text(), {"pyspark", "py4j"}))
            install(listed, Path(scratch) / "packages")
            compiled(Path(scratch) / "packages", "/opt/packages")
            put(tar, Path(scratch) / "packages", "opt/packages", leave=leave)
            settings = Settings()
            folder = jars.fetch(settings)
            put(tar, folder, f"opt/cache/{folder.relative_to(settings.cache)}")
            store = log_store.build(settings)
            put(tar, store, f"opt/cache/{store.relative_to(settings.cache)}")

    return layer(
        "packages", lock.read_bytes() + own.read_bytes() + log_store.jar().parent.name.encode(), make
    )


def install(lock: Path, target: Path) -> None:
    """The packages of a lock file, hashes checked, for the Python of the images."""
    wanted = ["--require-hashes", "--no-deps", "--python-version", "3.11", "--only-binary", ":all:",
              "--target", str(target), "-r", str(lock)]  # fmt: skip
    uv = (
        [sys.executable, "-m", "uv"]
        if find_spec("uv")
        else [found]
        if (found := shutil.which("uv"))
        else None
    )
    tool = [*uv, "pip", "install", "--link-mode", "copy"] if uv else [sys.executable, "-m", "pip", "install"]
    subprocess.run([*tool, "-q", *wanted], check=True)


def without(lock: str, names: set[str]) -> str:
    """The lock file without packages that have a layer of their own."""
    blocks = re.split(r"\n(?=[a-z0-9])", lock)
    return "\n".join(block for block in blocks if block.split("==")[0] not in names) + "\n"


def code_files(found: Project) -> dict[str, Path]:
    """What of the platform and the project a pod runs, or reads while it runs: its place in the image, and the file."""
    files = dict(project.platform_files())
    files |= {path.relative_to(found.folder).as_posix(): path for path in found.files()}
    target = found.dbt / "target"
    files |= {path.relative_to(found.folder).as_posix(): path for path in project.tracked(target)}
    files["deployments/local/dagster.yaml"] = shipped("local/dagster.yaml")
    return dict(sorted(files.items()))


def code(found: Project) -> Path:
    """The platform's code, the project's files, and dbt's manifest."""
    from asgard_assets.components.dbt import manifest as dbt_manifest

    if found.dbt.is_dir():
        dbt_manifest.prepare(found.dbt)
    files = code_files(found)
    inputs = repr(COMMANDS).encode() + b"".join(
        name.encode() + b"\0" + file.read_bytes() for name, file in files.items()
    )

    def make(target: Path) -> None:
        with tarfile.open(target, "w") as tar, tempfile.TemporaryDirectory() as scratch:
            for name, file in files.items():
                copy = Path(scratch) / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)
            for name in {"asgard_assets", "dbt", found.package.split(".")[0]}:
                compiled(Path(scratch) / name, f"/{APP}/{name}")
            commands(tar, COMMANDS)
            for made in sorted(Path(scratch).iterdir()):
                put(tar, made, f"{APP}/{made.name}")
            # dbt's manifest names the project's folder by a hash of its files only.
            for path in (f"{APP}/dbt_project/target", "tmp/asgard"):
                directory(tar, path, 0o1777)

    # By project: one that is built meanwhile removes only older ones of its own.
    return layer(f"code-{found.location}", inputs, make)


def spark_image(found: Project) -> tuple[dict[str, object], list[Path]]:
    """Configuration and layers of the image that Spark's drivers and executors run."""
    environment = [f"{key}={value}" for key, value in ENVIRONMENT.items()]
    config = {
        "WorkingDir": "/opt/spark/work-dir",
        "Env": environment,
        "User": "185",
        "Entrypoint": ["/opt/entrypoint.sh"],
    }
    return config, [base(), spark(), packages(), code(found)]
