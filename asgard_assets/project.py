"""The project: the folder with its settings, definitions, dbt models and feature repository.

It is the folder whose `pyproject.toml` has `[tool.dg.project]`, found from the current folder upwards or named by
`ASGARD_PROJECT`. The platform is a package and knows no project by itself.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from asgard_assets.errors import AsgardError, ConfigError
from asgard_assets.version import VERSION

VARIABLE = "ASGARD_PROJECT"
_SHIPPED = "shipped"  # what the wheel brings for other tools; a checkout has it in deployments/
PACKAGE = Path(__file__).resolve().parent
_MADE = {"__pycache__", "target", "logs", "node_modules"}


@dataclass(frozen=True)
class Project:
    """A project on disk. `package`, `module` and `location` are as its pyproject.toml names them for Dagster."""

    folder: Path
    package: str
    module: str
    location: str
    defs_module: str
    hooks: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def defs(self) -> Path:
        """The folder whose files become assets."""
        return self.folder.joinpath(*self.defs_module.split("."))

    @property
    def dbt(self) -> Path:
        return self.folder / "dbt_project"

    @property
    def features(self) -> Path:
        return self.folder / "feature_repo"

    @property
    def env_file(self) -> Path:
        return self.folder / ".env"

    def files(self) -> Iterator[Path]:
        """Every file that decides what a step does, in order; nothing that a run makes."""
        yield self.folder / "pyproject.toml"
        for part in (self.folder.joinpath(*self.package.split(".")), self.dbt, self.features):
            yield from tracked(part)

    def definitions(self) -> Any:
        """The project's Dagster definitions, loaded from its module.

        Raises ConfigError, with file and line, where one of the project's files is wrong.
        """
        from asgard_assets import mistakes

        self.importable()
        package = self.folder.joinpath(*self.package.split("."))
        loader = self.folder.joinpath(*self.module.split(".")).with_suffix(".py")
        try:
            loaded = importlib.import_module(self.module).defs()
            loaded.resolve_all_asset_specs()  # what two files contradict each other in is seen here
            return loaded
        except ConfigError as error:
            place = mistakes.place_of(error, package, loader)
            if place is None or place.partition(":")[0] in str(error):
                raise
            raise ConfigError(f"{place}: {error}") from error
        except AsgardError:
            raise
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and f"{self.module}.".startswith(f"{error.name}."):
                problem = (
                    f"{self.folder}: the module {self.module} does not exist. Correct code_location_target_module in "
                    "[tool.dg.project] of pyproject.toml"
                )
            else:
                problem = mistakes.told(error, package, loader, self.defs)
            if problem is None:
                raise
            raise ConfigError(problem) from error

    def hook(self, name: str) -> Any:
        """What `[tool.asgard]` of pyproject.toml names `name` as "module:function"; None where it names nothing."""
        named = self.hooks.get(name)
        return None if named is None else self.load(str(named))

    def commands(self) -> dict[str, Any]:
        """The project's own commands of `asgard`, by `[tool.asgard.commands]`."""
        return {name: self.load(named) for name, named in dict(self.hooks.get("commands", {})).items()}

    def load(self, named: str) -> Any:
        """The object behind "module:name"."""
        self.importable()
        module, _, name = named.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"{self.folder / 'pyproject.toml'}: [tool.asgard] names {named!r}, which cannot be loaded: {error}"
            ) from error

    def importable(self) -> None:
        """Let this process import the project's package; it need not be installed."""
        if str(self.folder) not in sys.path:
            sys.path.insert(0, str(self.folder))


def find(start: Path | None = None) -> Project | None:
    """The project of `start` (default: the current folder) or a folder above it; `ASGARD_PROJECT` comes first.

    Raises ConfigError where `ASGARD_PROJECT` names a folder that holds none.
    """
    named = os.environ.get(VARIABLE) if start is None else None
    if named:
        found = _read(Path(named).expanduser().absolute())
        if found is None:
            raise ConfigError(
                f"{VARIABLE} is {named!r}, but no pyproject.toml with [tool.dg.project] is there. Set it to a project's "
                "folder, or make one with `asgard init`"
            )
        return found
    here = (start or here_or_root()).absolute()
    return next((found for folder in (here, *here.parents) if (found := _read(folder))), None)


def here_or_root() -> Path:
    """The current folder; the root where that was deleted under this process."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")


def current() -> Project:
    """The project. Raises ConfigError where there is none."""
    found = find()
    if found is None:
        raise ConfigError(
            f"there is no project in {here_or_root()} or above it. Go to its folder, set {VARIABLE} to it, or make one: "
            "asgard init NAME"
        )
    return found


def folder() -> Path:
    """The project's folder; the current folder where there is no project."""
    found = find()
    return found.folder if found else here_or_root()


def use(path: Path) -> Project:
    """The project that holds `path`. Processes that this one starts find the same, wherever they run."""
    owner = find(path.parent)
    if owner is None:
        raise ConfigError(f"{path} is in no project: no pyproject.toml above it has [tool.dg.project]")
    if os.environ.get(VARIABLE) or find() != owner:
        os.environ[VARIABLE] = str(owner.folder)
    read_env(owner)
    return owner


def read_env(project: Project | None = None) -> None:
    """Put the project's `.env` into the environment; variables that are set already stay as they are."""
    from dotenv import dotenv_values

    file = project.env_file if project else folder() / ".env"
    for name, value in dotenv_values(file).items():
        if value is not None:
            os.environ.setdefault(name, value)


def without_env() -> str:
    """What a message adds where nobody has copied the project's `.env.example`; empty where there is a `.env`, or no example."""
    here = folder()
    if (here / ".env").exists() or not (here / ".env.example").exists():
        return ""
    return f"; {here / '.env'} is not there, so nothing of .env.example holds: cp .env.example .env"


def tracked(folder: Path) -> Iterator[Path]:
    """The files below a folder, in order, without hidden ones and what tools make there."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _MADE or path.suffix == ".pyc":
            continue
        if path.is_dir():
            yield from tracked(path)
        elif path.is_file():
            yield path


def platform_files() -> Iterator[tuple[str, Path]]:
    """The platform's own files: their path on Python's path, and where they are. dbt's adapter is among them."""
    for part in ("asgard_assets", "dbt/adapters/delta", "dbt/include/delta"):
        for path in tracked(PACKAGE.parent / part):
            yield path.relative_to(PACKAGE.parent).as_posix(), path


def code_digest(found: Project | None) -> str:
    """Hash of the platform's code and of the project's files, the same wherever both are installed.

    All that decides what a step does is in it: code, YAML, SQL, the Feast repository; nothing that a run makes.
    """
    digest = hashlib.sha256(VERSION.encode())
    named = [
        (name, path) for name, path in platform_files() if not name.startswith(f"{PACKAGE.name}/{_SHIPPED}/")
    ]
    if found:
        named += [(path.relative_to(found.folder).as_posix(), path) for path in found.files()]
    for name, path in named:
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def shipped(path: str) -> Path:
    """A file of `deployments/` that the wheel brings along: inside the package there, beside it in a checkout."""
    inside = PACKAGE / _SHIPPED / path
    return inside if inside.exists() else PACKAGE.parent / "deployments" / path


def import_path() -> list[str]:
    """What other processes of this Python need on their path to import the platform and the project."""
    import sysconfig

    folders = [] if (found := find()) is None else [str(found.folder)]
    if str(PACKAGE.parent) not in (*folders, *(sysconfig.get_path(name) for name in ("purelib", "platlib"))):
        folders.append(str(PACKAGE.parent))
    return folders


def _read(folder: Path) -> Project | None:
    file = folder / "pyproject.toml"
    try:
        stamp = file.stat()
    except OSError:
        return None
    return _parsed(file, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=64)
def _parsed(file: Path, changed: int, size: int) -> Project | None:
    try:
        tool = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return None  # somebody else's; a broken one of our own is told by every other tool
    told = tool.get("dg", {}).get("project")
    if not told or "root_module" not in told:
        return None
    package = told["root_module"]
    return Project(
        folder=file.parent,
        package=package,
        module=told.get("code_location_target_module", f"{package}.definitions"),
        location=told.get("code_location_name", package),
        defs_module=told.get("defs_module", f"{package}.defs"),
        hooks=tool.get("asgard", {}),
    )
