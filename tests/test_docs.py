"""What the documentation shows is what the models take."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from asgard_assets.components.api import ApiIngestModel
from asgard_assets.ingest.api.source.models import ApiSource
from tests.ingest.api.sources import TICKETS, USAGE
from tests.patience import patience
from tests.test_house import ROOT

BLOCKS = [
    (page.name, block)
    for page in sorted((ROOT / "docs").glob("api-*.md"))
    for block in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
]


def merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {name: merged(below.get(name), above.get(name, below.get(name))) for name in {**below, **above}}


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_every_piece_of_an_api_source_is_valid(page: str, block: str):
    piece = yaml.safe_load(block)
    if "attributes" in piece:  # what stands beside the source in a defs.yaml
        ApiIngestModel.model_validate(piece["attributes"] | {"source": TICKETS})
        return
    base = TICKETS if piece.get("form", {}).get("type") == "pull" else USAGE
    # A section that says its type is shown whole; others are parts of one.
    whole = {name: part for name, part in piece.items() if isinstance(part, dict) and "type" in part}
    ApiSource.model_validate(merged(base, piece) | whole)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path):
    notebook = json.loads((ROOT / "examples" / "api" / "notebook.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    program = tmp_path / "notebook.py"
    shown = 'print(outcomes.to_json(orient="values"))\nassert again.by_outcome == summary.by_outcome\n'
    program.write_text("\n".join([*cells[:-1], shown, cells[-1]]))
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=ROOT / "examples",
        capture_output=True,
        text=True,
        timeout=patience(300),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert sum(requests for *_, requests in outcomes) == 200
    assert {outcome for _, outcome, *_ in outcomes} <= {"success", "permanent"}
