"""dbt in this process: what a project does to a lake, without five seconds of imports for each command."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import chdir, redirect_stdout
from pathlib import Path

from asgard_assets.lake import Lake

PROFILE = """
{name}:
  target: dev
  outputs:
    dev: {{type: delta, schema: {schema}, threads: 4}}
"""


def write_project(folder: Path, files: Mapping[str, str]) -> Path:
    """A dbt project from its files; a minimal dbt_project.yml and a profile where they are not among them."""
    given = {
        "dbt_project.yml": "name: shop\nversion: '1.0'\nprofile: shop\n",
        "profiles.yml": PROFILE.format(name="shop", schema="gold"),
        **files,
    }
    for name, text in given.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.lstrip("\n"))
    return folder


def dbt(
    lake: Lake, project: Path, *args: str, days: tuple[str, str] | None = None, **given: object
) -> tuple[bool, str]:
    """Whether the command succeeded, and what it printed. Started in the project, as one starts dbt."""
    from dbt.cli.main import dbtRunner

    given |= {"lake": lake.root}
    if days:
        given |= {"min_date": days[0], "max_date": days[1]}
    command = [*args, "--project-dir", str(project), "--profiles-dir", str(project)]
    command += ["--vars", json.dumps(given)]
    command += ["--no-version-check", "--no-use-colors", "--no-send-anonymous-usage-stats"]
    out = io.StringIO()
    with chdir(project), redirect_stdout(out):
        done = dbtRunner().invoke(command)
    return done.success, out.getvalue() + (str(done.exception) if done.exception else "")
