"""A mistake in one file of a project: every command names the file, the line and what is wrong."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from asgard_assets import project
from asgard_assets.errors import ConfigError

LOADER = """\
from pathlib import Path
import dagster as dg

@dg.definitions
def defs():
    loaded = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    return dg.Definitions.merge(loaded, dg.Definitions(resources={"lake": None, "spark": None, "settings": None}))
"""
FILES = "type: asgard_assets.components.files.FileIngest\n"
GOOD = FILES + "attributes: {name: orders, path: orders, description: d, ds: {type: folder}}\n"
MISTAKES = {
    "a field that is missing and one too many": (
        "bad/defs.yaml", "type: asgard_assets.components.api.ApiIngest\nattributes:\n  group: x\n  source: {name: x}\n",
        [r"bad/defs\.yaml:4: source\.endpoint: Field required", r"bad/defs\.yaml:3: group: Extra inputs"],
    ),
    "a wrong value": ("bad/defs.yaml", FILES + "attributes:\n  name: 7 up\n  path: x\n  description: d\n  ds: {type: folder}\n", [r"bad/defs\.yaml:3: name: "]),
    "a source whose fields contradict each other": ("bad/defs.yaml", "type: asgard_assets.components.api.ApiIngest\nattributes:\n  source:\n    name: x\n    form: {type: row, rows: {query: select 1 as id, key: {id: bigint}}}\n    endpoint: {base_url: 'http://127.0.0.1:1', path: /x}\n    sink: {table: bronze/x}\n    quality: {description: d}\n", [r"bad/defs\.yaml:5: source\.form\.row\.rows\.reads: rows\.reads must name the tables"]),
    "a schedule in the wrong place": ("bad/defs.yaml", "type: asgard_assets.components.api.ApiIngest\nattributes:\n  source:\n    name: x\n    pull: {every: day}\n", [r"bad/defs\.yaml:\d+: .*pull is a field beside `source`"]),
    "no YAML": ("bad/defs.yaml", FILES + "attributes:\n  - a: [b\n", [r'bad/defs\.yaml", line 3']),
    "a component that does not exist": ("bad/defs.yaml", FILES.replace("Ingest", "Ingst") + "attributes: {}\n", [r"bad/defs\.yaml:1: there is no component asgard_assets\.components\.files\.FileIngst"]),
    "a module that does not exist": ("bad/defs.yaml", FILES.replace("files", "filez") + "attributes: {}\n", [r"bad/defs\.yaml:1: there is no component asgard_assets\.components\.filez\.FileIngest"]),
    "Python that cannot be read": ("bad/one.py", "x = 1\ndef a(:\n", [r"bad/one\.py:2: invalid syntax"]),
    "Python whose own model is given a wrong value": ("bad/one.py", "from pydantic import BaseModel\n\nclass M(BaseModel):\n    a: int\n\nM(a='x')\n", [r"bad/one\.py:6: M: a: Input should be a valid integer"]),
    "Python that fails": ("bad/one.py", "import nothing_of_this_name\n", [r"bad/one\.py:1: ModuleNotFoundError: No module named 'nothing_of_this_name'"]),
    "a table that the platform refuses": ("bad/one.py", "from asgard_assets.components.python import table\n\n@table('gold/x', deps=['silver/y'], key=['ds'], columns={'n': 'bigint'}, description='d',\n       partitions={'region': [f'r{n}' for n in range(9999)]})\ndef x(lake, days, region): ...\n", [r"bad/one\.py:3: partitions: 9999 values of region make [\d,]+ partitions"]),
    "a table in no time zone": ("bad/one.py", "from asgard_assets.components.python import table\n\n@table('gold/x', deps=['silver/y'], key=['ds'], columns={'n': 'bigint'}, description='d', time_zone='Kolkata')\ndef x(lake, days): ...\n", [r"bad/one\.py:3: \w+: time_zone: 'Kolkata' is no time zone; did you mean Asia/Kolkata\?$"]),
    "the loader itself": ("../definitions.py", LOADER + "x = 1 / 0\n", [r"definitions\.py:8: ZeroDivisionError"]),
    "two assets of one name": ("bad/defs.yaml", GOOD, [r"orders"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_its_file_and_line(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = f"broken{list(MISTAKES).index(mistake)}"
    package = tmp_path / name
    (package / "defs" / "good").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "{name}"\n'
    )
    (package / "__init__.py").touch()
    (package / "definitions.py").write_text(LOADER)
    (package / "defs" / "good" / "defs.yaml").write_text(GOOD)
    where, text, told = MISTAKES[mistake]
    (package / "defs" / where).parent.mkdir(exist_ok=True)
    (package / "defs" / where).write_text(text)
    monkeypatch.setenv("ASGARD_PROJECT", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ConfigError) as caught:
        project.current().definitions()
    for wanted in told:
        assert re.search(wanted, str(caught.value)), str(caught.value)
