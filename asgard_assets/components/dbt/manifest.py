"""The dbt manifest from which assets are made: parsed at build time, checked by content at load.

`python -m asgard_assets.components.dbt dbt_project` prepares it (`make setup`, an image build). At
load the project's files are hashed, which takes milliseconds. Where they changed since, dbt parses them again
in development, so that a new `.sql` shows at the next reload; in production the load fails and says what to
run. Imports neither Dagster nor dbt.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings

log = logging.getLogger(__name__)

_ENV_VAR = re.compile(rb"""env_var\(\s*['"](\w+)['"]""")
_KEY = "asgard_manifest.key"
PARSE = ("parse",)
_MADE = {"partial_parse.msgpack", "pyvenv.cfg"}  # in such a folder lies nothing that dbt reads
_READ_BY_DBT = {".sql", ".yml", ".yaml", ".md", ".py", ".csv"}
_PROFILE = """\
# Written because {project} has no profiles.yml: everything it builds is published to the lake (ASGARD_LAKE).
{name}:
  target: lake
  outputs:
    lake:
      type: delta
      schema: gold
      threads: 2
      config_options: {{memory_limit: 1GB}}
"""


def manifest(
    project: Path,
    profile: str | None = None,
    target: str | None = None,
    profiles_dir: Path | None = None,
    command: Sequence[str] = PARSE,
) -> Mapping[str, Any]:
    """The manifest of the dbt project as it is now. Raises ConfigError where dbt cannot parse it."""
    prepare(project, profile, target, profiles_dir=profiles_dir, command=command)
    return json.loads((project / "target" / "manifest.json").read_bytes())


def prepare(
    project: Path,
    profile: str | None = None,
    target: str | None = None,
    parse: bool | None = None,
    profiles_dir: Path | None = None,
    command: Sequence[str] = PARSE,
) -> bool:
    """Parse the project where its files changed since the last time; True if dbt had to run.

    `parse` says whether dbt may run; by default not in production, where a changed project raises ConfigError.
    `command` is what dbt runs to make its manifest.
    """
    key, folder = fingerprint(project, profile, target, command, profiles_dir), project / "target"
    stamp = folder / _KEY
    if stamp.is_file() and stamp.read_text() == key and (folder / "manifest.json").is_file():
        return False
    if not (Settings().env != "production" if parse is None else parse):
        raise ConfigError(
            f"{project}: target/manifest.json is missing or older than the project; run "
            f"`python -m asgard_assets.components.dbt {shlex.join(_argv(project, profile, target, command, profiles_dir))}` "
            "when the image is built",
            file=str(project),
        )
    log.warning(
        "%s: no current manifest; running `dbt %s` (prepare it at build time)", project, shlex.join(command)
    )
    folder.mkdir(exist_ok=True)
    _install_packages(project)
    with tempfile.TemporaryDirectory(prefix=".parse-", dir=folder) as scratch:
        place = profiles(project, profile, profiles_dir)
        _dbt(project, Path(scratch), *command, "--no-partial-parse", target=target, place=place)
        # Several processes may load at once: each replaces whole files, and all hold the same content.
        for name in ("manifest.json", "partial_parse.msgpack"):
            shutil.move(Path(scratch) / name, folder / name)
        (Path(scratch) / _KEY).write_text(fingerprint(project, profile, target, command, profiles_dir))
        shutil.move(Path(scratch) / _KEY, stamp)
    return True


def fingerprint(
    project: Path,
    profile: str | None = None,
    target: str | None = None,
    command: Sequence[str] = PARSE,
    profiles_dir: Path | None = None,
) -> str:
    """Hash of every file that dbt reads, installed packages included, of dbt's own version, of the environment
    variables that the files name, and of what the profile says of names (not of hosts and passwords).
    """
    if not (project / "dbt_project.yml").is_file():
        raise ConfigError(
            f"{project} holds no dbt_project.yml; name the dbt project's folder", file=str(project)
        )
    versions = [importlib.metadata.version(name) for name in ("dbt-core", "dbt-adapters", "dbt-duckdb")]
    digest = hashlib.sha256(json.dumps(versions).encode())
    digest.update(json.dumps([profile, target, *command]).encode())
    digest.update(json.dumps(_names_of_the_profile(project, profile, target, profiles_dir)).encode())
    variables = set[str]()
    seen: set[str] = set()
    for folder, folders, files in _folders(project):
        # A local package may link back to the folder that holds it.
        if (place := os.path.realpath(folder)) in seen or not _MADE.isdisjoint(files):
            folders[:] = []
            continue
        seen.add(place)
        made = {"target", "logs"} if Path(folder) == project else {"node_modules", "__pycache__"}
        folders[:] = sorted(f for f in folders if f not in made and f[0] != ".")
        for name in sorted(f for f in files if _is_read(f)):
            path = Path(folder) / name
            digest.update(f"{os.path.relpath(path, project)}\0".encode())
            content = path.read_bytes()
            digest.update(hashlib.sha256(content).digest())
            if name != "profiles.yml":
                variables.update(found.decode() for found in _ENV_VAR.findall(content))
    digest.update(json.dumps({name: os.environ.get(name) for name in sorted(variables)}).encode())
    return digest.hexdigest()


def _folders(project: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """The project's folders, and those outside that its `model-paths` and the like name."""
    yield from os.walk(project, followlinks=True)
    for name, paths in _settings(project).items():
        if name.endswith("-paths") and isinstance(paths, list):
            for path in map(str, paths):
                if path.startswith(("..", "/")):
                    yield from os.walk(project / (_rendered(path) or path), followlinks=True)


def _is_read(name: str) -> bool:
    return (Path(name).suffix in _READ_BY_DBT and name != ".user.yml") or name == ".dbtignore"


def _names_of_the_profile(
    project: Path, profile: str | None, target: str | None, profiles_dir: Path | None
) -> list[str | None]:
    """What of a profile stands in the manifest: adapter, database, schema and target. Nothing of one that we write."""
    outside = [profiles_dir, project, os.environ.get("DBT_PROFILES_DIR")]
    path = next((Path(f, "profiles.yml") for f in outside if f and Path(f, "profiles.yml").is_file()), None)
    try:
        found = (yaml.safe_load(path.read_text()) if path else None) or {}
        chosen = found[profile or _rendered(_settings(project).get("profile"))]
        used = target or _rendered(chosen.get("target")) or "default"
        output = chosen["outputs"][used]
    except (KeyError, TypeError, yaml.YAMLError):
        return []  # dbt says what is wrong with it
    # DuckDB names a database as its file.
    file = Path(_rendered(str(output.get("path") or "")) or "").stem
    names = (_rendered(str(output.get(key, ""))) for key in ("type", "database", "dbname", "schema"))
    return [used, file, *names]


def profiles(
    project: Path, profile: str | None = None, profiles_dir: Path | None = None
) -> tuple[Path, str | None]:
    """The folder of the project's profiles.yml, and the profile's name where it has to be said.

    `profiles_dir`; else the project's own; else that of DBT_PROFILES_DIR; else one is written which publishes to
    the lake.
    """
    if profiles_dir:
        return profiles_dir.absolute(), profile
    if (project / "profiles.yml").is_file():
        return project.absolute(), profile
    if given := os.environ.get("DBT_PROFILES_DIR"):
        return Path(given).absolute(), profile
    named = profile or _rendered(_settings(project).get("profile"))
    name = named or "asgard"
    folder = (
        Settings().home.absolute()
        / "dbt"
        / "profiles"
        / hashlib.sha256(str(project).encode()).hexdigest()[:12]
    )
    text = _PROFILE.format(project=project, name=json.dumps(name))
    path = folder / "profiles.yml"
    if not path.is_file() or path.read_text() != text:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder, name if profile or not named else None


def docs(
    project: Path,
    place: Path,
    profile: str | None = None,
    target: str | None = None,
    profiles_dir: Path | None = None,
    command: Sequence[str] = PARSE,
) -> Path:
    """dbt's docs site of the project, one file with everything in it. Returns it.

    The catalog holds what is published to the lake; what is not yet, has its declared columns. Of `command`, which
    makes the manifest elsewhere, the options count, such as `--vars`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        found = profiles(project, profile, profiles_dir)
        words = ("docs", "generate", "--static", *command[1:])
        _dbt(project, Path(scratch), *words, target=target, place=found)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(scratch) / "static_index.html", place / "index.html")
    return place / "index.html"


def executable() -> str:
    """dbt of this environment, found although it is not activated."""
    beside = Path(sys.executable).with_name("dbt")
    return str(beside) if beside.is_file() else "dbt"


def _install_packages(project: Path) -> None:
    """`dbt deps` where the project names packages and has none; what was vendored stays as it is."""
    named = [project / name for name in ("packages.yml", "dependencies.yml")]
    wants = [p for p in named if p.is_file() and (yaml.safe_load(p.read_text()) or {}).get("packages")]
    installed = project / (_rendered(_settings(project).get("packages-install-path")) or "dbt_packages")
    if not wants or installed.is_dir():
        return
    with tempfile.TemporaryDirectory() as scratch:
        try:
            _dbt(project, Path(scratch), "deps")
        except ConfigError as error:
            raise ConfigError(
                f"{wants[0]} names packages and {installed} does not exist; `dbt deps` could not fetch them. Put "
                f"them there, or run `dbt deps` where their hub can be reached.\n{error.message}",
                file=str(wants[0]),
            ) from error


def _settings(project: Path) -> Mapping[str, Any]:
    return yaml.safe_load((project / "dbt_project.yml").read_text()) or {}


def _rendered(text: str | None) -> str | None:
    """A setting in which dbt allows `{{ env_var('DBT_ROOT', '.') }}`; as it stands where it asks for more."""
    if not text or "{{" not in text:
        return text
    from jinja2 import TemplateError
    from jinja2.sandbox import SandboxedEnvironment

    def env_var(name: str, default: str | None = None) -> str:
        found = os.environ.get(name, default)
        if found is None:
            raise ConfigError(f"dbt_project.yml asks for the environment variable {name}, which is not set")
        return found

    try:
        return SandboxedEnvironment().from_string(text).render(env_var=env_var)
    except TemplateError:
        return text


def _dbt(
    project: Path,
    scratch: Path,
    *command: str,
    target: str | None = None,
    place: tuple[Path, str | None] | None = None,
) -> None:
    folder, name = place or profiles(project)
    args = [executable(), *command, "--no-version-check", "--no-use-colors"]
    args += ["--project-dir", str(project.absolute()), "--profiles-dir", str(folder)]
    args += ["--profile", name] if name else []
    args += ["--target", target] if target else []
    if command[0] != "deps":
        args += ["--target-path", str(scratch.absolute())]
    args += ["--log-path", str(scratch.absolute())]
    env = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    done = subprocess.run(args, env=env, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-3000:]
        if "Could not find adapter type" in said:
            said += f"\nGive the profile in {folder} `type: delta` (the lake) or `type: duckdb`."
        raise ConfigError(
            f"dbt cannot {command[0]} {project}:\n{said}",
            file=str(project),
        )


def _argv(
    project: Path,
    profile: str | None,
    target: str | None,
    command: Sequence[str],
    profiles_dir: Path | None,
) -> list[str]:
    """What to tell this module to prepare just this."""
    said = [f"--profile={profile}"] if profile else []
    said += [f"--target={target}"] if target else []
    said += [f"--profiles-dir={profiles_dir}"] if profiles_dir else []
    said += [f"--command={shlex.join(command)}"] if tuple(command) != PARSE else []
    return [str(project), *said]


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare projects' manifests, or write their docs site. The options are the component's."""
    parser = argparse.ArgumentParser(prog="python -m asgard_assets.components.dbt", description=main.__doc__)
    parser.add_argument("projects", nargs="*", type=Path, default=[Path("dbt_project")], metavar="project")
    parser.add_argument("--docs", action="store_true", help="write dbt's docs site instead")
    parser.add_argument("--profile", help="the profile's name, where the project does not say it")
    parser.add_argument("--target", help="the profile's target, where it is not the default")
    parser.add_argument("--profiles-dir", type=Path, help="where profiles.yml lies")
    parser.add_argument(
        "--command", type=shlex.split, default=PARSE, help="instead of `dbt parse`, as one word"
    )
    asked = parser.parse_args(argv)
    for project in asked.projects:
        if asked.docs:
            place = Settings().home.absolute() / "docs" / "dbt"
            given = (asked.profile, asked.target, asked.profiles_dir, tuple(asked.command))
            log.info("docs: %s", docs(project, place, *given))
        else:
            prepare(project, asked.profile, asked.target, True, asked.profiles_dir, tuple(asked.command))
