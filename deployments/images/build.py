"""The images from the lock file without Docker: `python -m deployments.images.build [--import] asgard …`.

Same content as the Dockerfiles beside this: Debian with a JRE and Python, Spark from the pyspark wheel, the
Spark jars, the packages of `spark.lock`, all of the Python compiled, the code last. Layers are plain tars
under `~/.cache/asgard/images`, kept by what goes into them, so that a change of code costs seconds.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Callable, Mapping
from pathlib import Path

from asgard_assets.settings import ROOT, Settings
from asgard_assets.spark import jars, log_store
from deployments.images.oci import write_archive

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
TESTED = (
    "tests/cluster/stories.py",
    "tests/cluster/program.py",
    "tests/cluster/piped.py",
    "tests/resources/launched.py",
    "tests/fakes/python_launcher.py",
)
SUITE = "bookworm"
DEBIAN = ("openjdk-17-jre-headless", "python3", "tini", "procps")
LAYOUT = 3  # raise it when a layer is made in another way
APP = "opt/asgard"
CODE = (
    "asgard_assets",
    "dbt",
    "dbt_project",
    "deployments/local/dagster.yaml",
    "feature_repo",
    "pyproject.toml",
)
"""What of the project a pod runs, or reads while it runs. The Dockerfile copies the same."""
PYTHON = ("asgard_assets", "dbt")
COMMANDS = {"dbt": "from dbt.cli.main import cli; cli()"}
SPARK_USER = "spark:x:185:0:spark:/opt/spark:/bin/bash\n"
PLATFORM_USER = "asgard:x:10001:10001:asgard:/home/asgard:/bin/sh\n"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SPARK_HOME": "/opt/spark",
    "JAVA_HOME": "/usr/lib/jvm/java-17-openjdk-amd64",
    "PYTHONPATH": f"/{APP}:/opt/packages:/opt/py",
    "PYSPARK_PYTHON": "/usr/bin/python3",
    "PYTHONDONTWRITEBYTECODE": "1",
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "ASGARD_CACHE": "/opt/cache",
    "ASGARD_HOME": "/tmp/asgard",
    "ASGARD_ENV": "local",
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
                    sys.exit("images: mmdebstrap failed:\n" + said.read()[-2000:])

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

    entrypoint = HERE / "entrypoint.sh"

    def make(target: Path) -> None:
        with tarfile.open(target, "w") as tar:
            for source, path in (
                (Path(pyspark.__file__).parent, "opt/spark"),
                (Path(py4j.__file__).parent, "opt/py/py4j"),
            ):
                _add(tar, source, path, leave=r"/(__pycache__|examples|tests|licenses)(/|$)")
                with tempfile.TemporaryDirectory() as scratch:
                    copy = Path(scratch) / "copy"
                    leave = shutil.ignore_patterns(
                        "__pycache__", "examples", "tests", "licenses", "jars", "*.zip"
                    )
                    shutil.copytree(source, copy, ignore=leave)
                    _compile(copy, f"/{path}")
                    for made in copy.rglob("__pycache__"):
                        _add(tar, made, f"{path}/{made.relative_to(copy)}")
            _link(tar, "opt/py/pyspark", "/opt/spark")
            _add(tar, entrypoint, "opt/entrypoint.sh", mode=0o755)
            for path in ("opt/spark/work-dir", "opt/spark/conf"):
                _directory(tar, path, 0o775)
            _text(tar, "etc/passwd", _passwd() + SPARK_USER)

    return layer("spark", pyspark.__version__.encode() + entrypoint.read_bytes(), make)


def _compile(folder: Path, path: str) -> None:
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


def _passwd() -> str:
    with tarfile.open(base()) as tar:
        file = tar.extractfile("./etc/passwd")
        assert file is not None
        return file.read().decode()


def packages() -> Path:
    """Delta's and S3's jars with the log store, and the Python packages of `spark.lock`, hashes checked."""
    lock = HERE / "spark.lock"
    own = jars.LIST / "SHA256SUMS"

    def make(target: Path) -> None:
        leave = r"^opt/packages/(bin|\.lock|pyarrow/include|(pandas|numpy|pyarrow|sqlalchemy)/.*tests)(/|$)"
        with tempfile.TemporaryDirectory() as scratch, tarfile.open(target, "w") as tar:
            listed = Path(scratch) / "spark.lock"
            listed.write_text(_without(lock.read_text(), {"pyspark", "py4j"}))
            _install(listed, Path(scratch) / "packages")
            _compile(Path(scratch) / "packages", "/opt/packages")
            _add(tar, Path(scratch) / "packages", "opt/packages", leave=leave)
            settings = Settings()
            folder = jars.fetch(settings)
            _add(tar, folder, f"opt/cache/{folder.relative_to(settings.cache)}")
            store = log_store.build(settings)
            _add(tar, store, f"opt/cache/{store.relative_to(settings.cache)}")

    return layer(
        "packages", lock.read_bytes() + own.read_bytes() + log_store.jar().parent.name.encode(), make
    )


def _install(lock: Path, target: Path) -> None:
    """The packages of a lock file, hashes checked, for the Python of the images."""
    subprocess.run(
        [sys.executable, "-m", "uv", "pip", "install", "-q", "--require-hashes", "--no-deps",
         "--python-version", "3.11", "--only-binary", ":all:", "--link-mode", "copy",
         "--target", str(target), "-r", str(lock)],
        check=True,
    )  # fmt: skip


def _without(lock: str, names: set[str]) -> str:
    """The lock file without packages that have a layer of their own."""
    blocks = re.split(r"\n(?=[a-z0-9])", lock)
    return "\n".join(block for block in blocks if block.split("==")[0] not in names) + "\n"


def code_files() -> list[Path]:
    """The project's files in both images, dbt's prepared manifest among them."""
    return sorted(
        path
        for name in CODE
        for path in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and "logs" not in path.relative_to(ROOT).parts
    )


def code() -> Path:
    """The project itself: what is tracked, and dbt's manifest."""
    from asgard_assets.components.dbt import manifest as dbt_manifest

    dbt_manifest.prepare(ROOT / "dbt_project")
    files = code_files()
    inputs = repr(COMMANDS).encode() + b"".join(
        str(f.relative_to(ROOT)).encode() + b"\0" + f.read_bytes() for f in files
    )

    def make(target: Path) -> None:
        with tarfile.open(target, "w") as tar, tempfile.TemporaryDirectory() as scratch:
            for file in files:
                copy = Path(scratch) / file.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)
            for name in PYTHON:
                _compile(Path(scratch) / name, f"/{APP}/{name}")
            _commands(tar, COMMANDS)
            for name in CODE:
                _add(tar, Path(scratch) / name, f"{APP}/{name}")
            # dbt's manifest names the project's folder by a hash of its files only.
            for path in (f"{APP}/dbt_project/target", "tmp/asgard"):
                _directory(tar, path, 0o1777)

    return layer("code", inputs, make)


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
            _install(Path(scratch) / "lock", Path(scratch) / "packages")
            _compile(Path(scratch) / "packages", "/opt/packages")
            _add(tar, Path(scratch) / "packages", "opt/packages", leave=r"^opt/packages/(bin|\.lock)(/|$)")
            _text(tar, "etc/passwd", _passwd() + SPARK_USER + PLATFORM_USER)
            modules = (("dagster", "dagster.__main__"), ("dagster-daemon", "dagster._daemon.cli"))
            _commands(tar, {name: f"from {module} import main; main()" for name, module in modules})
            for path in ("opt/dagster", "opt/dagster/dagster_home", "home/asgard"):
                _directory(tar, path, 0o1777)

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
                _text(tar, f"{APP}/{path}", body.decode())

    return layer(f"tests-{name}", inputs, make)


def operator() -> Path:
    """The Spark operator's binary and entry point, from the cluster's build."""
    built = Path(os.environ["ASGARD_CLUSTER_BUILT"])

    def make(target: Path) -> None:
        with tarfile.open(target, "w") as tar:
            _add(tar, built / "bin/spark-operator", "usr/bin/spark-operator", mode=0o755)
            _add(tar, built / "operator/entrypoint.sh", "usr/bin/entrypoint.sh", mode=0o755)
            for path in ("etc/k8s-webhook-server/serving-certs", "home/spark"):
                _directory(tar, path, 0o777)

    return layer("operator", str(built).encode(), make)


def pause() -> Path:
    built = Path(os.environ["ASGARD_CLUSTER_BUILT"])

    def make(target: Path) -> None:
        with tarfile.open(target, "w") as tar:
            _add(tar, built / "bin/pause", "pause", mode=0o755)

    return layer("pause", str(built).encode(), make)


def image(name: str) -> tuple[str, dict[str, object], list[Path]]:
    """Reference, configuration and layers of an image."""
    environment = [f"{key}={value}" for key, value in ENVIRONMENT.items()]
    run_as = {"WorkingDir": "/opt/spark/work-dir", "Env": environment}
    if name in ("asgard", "test", "other"):
        config = {**run_as, "User": "185", "Entrypoint": ["/opt/entrypoint.sh"]}
        layers = [base(), spark(), packages(), code()]
        if name != "asgard":
            layers.append(tests(name))
        return f"localhost/asgard:{'latest' if name == 'asgard' else name}", config, layers
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
            [base(), spark(), packages(), code(), tests("test"), platform()],
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
    reference, config, layers = image(name)
    listed = subprocess.run(
        ["ctr", "-n", "k8s.io", "content", "ls", "-q"], capture_output=True, text=True, check=True
    )
    with tempfile.NamedTemporaryFile(suffix=".tar", dir=folder()) as archive:
        command = ["ctr", "-n", "k8s.io", "images", "import", archive.name]
        for present in (set(listed.stdout.split()), set[str]()):
            write_archive(Path(archive.name), reference, config, layers, present)
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if not done.returncode:
                break
            # A layer that was there a moment ago can have been collected as garbage: then all are copied.
            log.info("%s", done.stderr.strip()[-300:])
        else:
            raise SystemExit(f"images: containerd did not take {reference}")
    log.info("imported %s", reference)


def _add(
    tar: tarfile.TarFile, source: Path, target: str, leave: str | None = None, mode: int | None = None
) -> None:
    def own(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if leave and re.search(leave, info.name):
            return None
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        info.mtime = 0
        info.mode = mode or (info.mode | 0o444 | (0o111 if info.isdir() or info.mode & 0o100 else 0))
        return info

    tar.add(source, target, filter=own)


def _link(tar: tarfile.TarFile, path: str, to: str) -> None:
    info = tarfile.TarInfo(path)
    info.type, info.linkname = tarfile.SYMTYPE, to
    tar.addfile(info)


def _directory(tar: tarfile.TarFile, path: str, mode: int) -> None:
    info = tarfile.TarInfo(path)
    info.type, info.mode = tarfile.DIRTYPE, mode
    tar.addfile(info)


def _commands(tar: tarfile.TarFile, commands: Mapping[str, str]) -> None:
    """Programs on the PATH; those that pip installs name the Python that built the image."""
    for name, code in commands.items():
        _text(tar, f"usr/local/bin/{name}", f"#!/bin/sh\nexec python3 -c '{code}' \"$@\"\n", 0o755)


def _text(tar: tarfile.TarFile, path: str, text: str, mode: int = 0o644) -> None:
    import io

    info = tarfile.TarInfo(path)
    info.size, info.mode = len(text.encode()), mode
    tar.addfile(info, io.BytesIO(text.encode()))


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
            reference, config, layers = image(name)
            if given.output:
                write_archive(given.output, reference, config, layers)
                log.info("%s: %s", reference, given.output)


if __name__ == "__main__":
    main()
