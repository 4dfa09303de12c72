"""Runs a command so that nothing of it outlives the server: `python leash.py COMMAND [ARGUMENT …]`.

The server holds the other end of standard input and never writes to it. When that end closes, because the
server ended in whatever way, the whole process group is killed: connectors start worker processes, which a
kill of the connector alone would leave behind. Imports nothing but the standard library, to start in 20 ms.
"""

import os
import signal
import subprocess
import sys
import threading


def _watch() -> None:
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    # Before the child exists, so that there is no moment at which it could be orphaned.
    threading.Thread(target=_watch, daemon=True).start()
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    code = child.wait()
    if code < 0:
        # Hand on by which signal the connector died, in the way in which shells do.
        code = 128 - code
    return code


if __name__ == "__main__":
    sys.exit(main())
