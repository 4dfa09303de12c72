"""Runs a connector that takes one fixed moment for now: `python clock.py MOMENT COMMAND [ARGUMENT …]`.

The Python is the connector's own, whose environment has time-machine; where it lacks that, the connector fails.
Time stands still, in the worker processes that it forks too, so that the same configuration gives the same records.
"""

import runpy
import sys
from datetime import datetime

import time_machine  # pyright: ignore[reportMissingImports]

if __name__ == "__main__":
    moment, *sys.argv = sys.argv[1:]
    time_machine.travel(datetime.fromisoformat(moment), tick=False).start()
    runpy.run_path(sys.argv[0], run_name="__main__")
