"""A mirror in a process that kills itself at the commit of a partition: `python mirror_killed.py LAKE TARGET PARTITION`."""

from __future__ import annotations

import os
import signal
import sys

from asgard_assets.lake import Lake
from asgard_assets.sinks.mirror import MirrorSink, mirror


def main(root: str, target: str, last: str) -> None:
    sink = MirrorSink(name="orders", table="silver/orders", url="env:X", target=target, key=("id",))

    def end(partition: str) -> None:
        if partition == last:
            os.kill(os.getpid(), signal.SIGKILL)

    mirror(Lake(root), sink, os.environ["SRC_POSTGRES"], before_commit=end)


if __name__ == "__main__":
    main(*sys.argv[1:])
