"""`asgard init`: a project of one's own, with a small example of each stage."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from asgard_assets.errors import ConfigError
from asgard_assets.project import shipped, tracked
from asgard_assets.version import VERSION

TEMPLATE = "shop"
"""The name that the example project has in its own files."""
_HIDDEN = (".env.example", ".dockerignore", ".gitignore", ".github/workflows/ci.yml")


def new_project(name: str, parent: Path) -> Path:
    """Write the project `name` into a new folder of `parent`; returns it. Raises ConfigError where it cannot be."""
    _check(name)
    target = parent / name
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there already and not empty. Choose another name, or remove it")
    source = shipped("project")
    for path in files(source):
        copy = target / _renamed(path.relative_to(source).as_posix(), name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            shutil.copyfile(path, copy)
        else:
            text = path.read_text(encoding="utf-8").replace("ASGARD_VERSION", VERSION)
            copy.write_text(_renamed(text, name), encoding="utf-8")
    return target


def files(source: Path) -> Iterator[Path]:
    """The files of the example project."""
    yield from tracked(source)
    yield from (source / path for path in _HIDDEN)


def _renamed(text: str, name: str) -> str:
    return re.sub(rf"\b{TEMPLATE}\b", name, text)


def _check(name: str) -> None:
    """The name becomes a folder and a Python package: it must hide no other."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a project: it becomes a Python package. Use small letters, digits and _, "
            "beginning with a letter, for example: asgard init sales_data"
        )
    if name in sys.stdlib_module_names or name in ("asgard_assets", "dbt", "dagster", "tests"):
        raise ConfigError(
            f"{name!r} is the name of another Python package. Choose another, for example {name}_data"
        )
