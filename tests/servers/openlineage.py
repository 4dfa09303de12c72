"""The published classes of OpenLineage, in an environment of their own, as what judges our events.

The client of the specification is generated from its JSON schemas: what its classes take is an event.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers.builds import cached, run

VERSION = "1.54.0"
_JUDGE = Path(__file__).with_name("openlineage_judge.py")


def judged(events: Sequence[Any]) -> list[str]:
    """What is wrong with each event; an empty text where nothing is."""
    python = cached(f"openlineage-{VERSION}", _build) / "bin" / "python"
    done = subprocess.run(
        [python, "-P", _JUDGE], input=json.dumps(list(events)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _build(folder: Path) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    run(uv, "venv", "-q", "--relocatable", "--allow-existing", "--python", sys.executable, str(folder))
    run(uv, "pip", "install", "-q", "--python", str(folder / "bin/python"), f"openlineage-python=={VERSION}")
