"""A mistake in one of a project's files, in one line: file, line, field, what is wrong."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def told(error: BaseException, package: Path, loader: Path, defs: Path) -> str | None:
    """What is wrong in which file; None where the error came from none of the project's.

    `loader` is the module that loads what lies in `defs`: a frame in it alone says nothing.
    """
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    root = causes[-1]
    if isinstance(root, ValidationError) and all(" at " in str(each["loc"][-1:]) for each in root.errors()):
        return "\n".join(_wrong_field(each) for each in root.errors())
    if isinstance(root, yaml.YAMLError):
        return str(root)
    if isinstance(root, SyntaxError) and root.filename:
        return f"{root.filename}:{root.lineno}: {root.msg}"
    for cause in causes:
        if unknown := re.match(r"Module `(.+?)` (?:has no attribute `(.+)`|not found)", str(cause)):
            return _unknown_component(".".join(filter(None, unknown.groups())), defs)
    if place := place_of(root, package, loader):
        return f"{place}: {_said(root)}"
    if len(causes) > 1:  # Dagster names the component in the first line, and draws the tree of all below it
        return f"{str(causes[-2]).splitlines()[0]} {root}"
    own = [frame for frame in traceback.extract_tb(root.__traceback__) if Path(frame.filename) == loader]
    if own:
        return f"{loader}:{own[-1].lineno}: {type(root).__name__}: {root}"
    return str(root) if type(root).__module__.startswith("dagster.") else None


def _said(error: BaseException) -> str:
    """The error with its kind; of a model the fields that are wrong, without Pydantic's four lines for each."""
    if not isinstance(error, ValidationError):
        return f"{type(error).__name__}: {error}"
    wrong = [
        ": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"].removeprefix("Value error, "))))
        for each in error.errors()
    ]
    return f"{error.title}: {'; '.join(wrong)}"


def place_of(error: BaseException, package: Path, loader: Path) -> str | None:
    """`file:line` of the project's own code in which the error came up; None where that is the loader, or none of it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(package)]
    if not own or Path(own[-1].filename) == loader:
        return None
    return f"{own[-1].filename}:{own[-1].lineno}"


def _unknown_component(name: str, folder: Path) -> str:
    """Dagster does not say which file asks for it."""
    for file in sorted(folder.rglob("*.y*ml")):
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            wanted = line.strip("- ").removeprefix("type:").strip("\"' ")
            if f"{wanted}.".startswith(f"{name}."):
                return f"{file}:{number}: there is no component {wanted}; dg list components shows those that exist"
    return f"there is no component {name}; dg list components shows those that exist"


def _wrong_field(error: ErrorDetails) -> str:
    """`file:line: field: what is wrong`. Dagster writes the place into the field's name."""
    field, _, place = ".".join(map(str, error["loc"])).partition(" at ")
    inside = getattr(error.get("ctx", {}).get("error"), "at", "")
    field = ".".join(filter(None, (field.removeprefix("attributes."), inside)))
    return f"{place}: {field}: {error['msg'].removeprefix('Value error, ')}"
