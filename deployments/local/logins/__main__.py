"""The servers of the guide to logins: a Keycloak, and an API with five doors.

python -m deployments.local.logins up       start them, and say where they are
python -m deployments.local.logins down     end them
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from asgard_assets.errors import AsgardError, ConfigError
from asgard_assets.settings import Settings

API_PORT = 8770


def main(what: str) -> None:
    folder = Settings().home.absolute() / "logins"
    {"up": up, "down": down, "serve": serve}[what](folder)


def up(folder: Path) -> None:
    """Start the servers in a process of their own, and wait until they answer. Raises ConfigError."""
    if (folder / "pid").exists():
        down(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ready, log = folder / "ready", folder / "servers.log"
    ready.unlink(missing_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.local.logins", "serve"],
            stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    (folder / "pid").write_text(str(process.pid))
    while not ready.exists():
        if process.poll() is not None:
            (folder / "pid").unlink()
            raise ConfigError(f"the servers did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)
    sys.stdout.write(ready.read_text())


def down(folder: Path) -> None:
    """End what `up` started."""
    import psutil

    try:
        process = psutil.Process(int((folder / "pid").read_text()))
        if "deployments.local.logins" in process.cmdline():
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    except (FileNotFoundError, psutil.NoSuchProcess):
        sys.stdout.write("nothing runs\n")
        return
    finally:
        (folder / "pid").unlink(missing_ok=True)
    sys.stdout.write("ended\n")


def serve(folder: Path) -> None:
    """The servers, until this process is told to end."""
    from aiohttp import web

    from deployments.local.logins.api import REALM, application
    from deployments.local.logins.keycloak import keycloak

    # Without it a signal would end this process alone, and leave Keycloak.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with keycloak("shop", REALM, port=API_PORT + 1) as idp:

        async def started(_: web.Application) -> None:
            told = f"API:      http://127.0.0.1:{API_PORT}\nKeycloak: {idp.url}\n"
            (folder / "new").write_text(told)
            os.replace(folder / "new", folder / "ready")

        app = application(idp.public_key())
        app.on_startup.append(started)
        web.run_app(app, host="127.0.0.1", port=API_PORT, print=None)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("up", "down", "serve"):
        sys.exit(__doc__)
    try:
        main(sys.argv[1])
    except AsgardError as error:
        sys.exit(f"asgard: {error}")
