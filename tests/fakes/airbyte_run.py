"""Dagster in a process of its own, to be killed: `python -m tests.fakes.airbyte_run INSTANCE` syncs every connection."""

import sys
from pathlib import Path

import dagster as dg

from tests.fakes.airbyte import load

if __name__ == "__main__":
    assets = [one for one in load(Path(sys.argv[1])).assets or [] if one.op.name.startswith("airbyte")]
    with dg.DagsterInstance.ephemeral() as instance:
        sys.exit(0 if dg.materialize(assets, instance=instance, raise_on_error=False).success else 1)
