"""The demo's sources: two servers on loopback and the landing files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urlparse

from asgard_assets import doctor, project
from asgard_assets.demo.interrupts import undisturbed
from asgard_assets.demo.settings import DemoSettings
from asgard_assets.doctor import Finding, answers
from asgard_assets.errors import SourceError
from asgard_assets.settings import Settings

FIRST_DAY, LAST_DAY = "2026-10-05", "2026-11-01"
USERS = 800


def use_demo_calendar() -> None:
    """Give this process, and those that it starts, the demo's days, unless the user has set a calendar."""
    settings = Settings()
    if settings.env == "production" or {"partition_start", "partition_end"} & settings.model_fields_set:
        return
    os.environ["ASGARD_PARTITION_START"] = FIRST_DAY
    os.environ["ASGARD_PARTITION_END"] = (date.fromisoformat(LAST_DAY) + timedelta(days=1)).isoformat()


@contextmanager
def demo_sources(settings: Settings) -> Iterator[None]:
    """The demo API and the local Airbyte server, on loopback; stopped at the end.

    Servers that answer at these addresses already are used as they are. Raises SourceError where one does
    not come up.
    """
    home = settings.home.absolute()
    (home / "logs").mkdir(parents=True, exist_ok=True)
    parent = ["--parent", str(os.getpid())]
    demo_url = DemoSettings().api_url
    api = ["deployments.local.demo.api", "--port", _port(demo_url), "--users", str(USERS)]
    api += ["--log", str(home / "logs" / "demo-api-requests.jsonl")]
    airbyte = ["deployments.local.airbyte.server", "--port", _port(settings.airbyte_url)]
    airbyte += [
        "--landing",
        f"{settings.landing_root}/airbyte",
        "--state",
        str(home / "airbyte"),
        "--date",
        FIRST_DAY,
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name, url, arguments in (
            ("demo API", f"{demo_url}/health", api),
            ("local Airbyte", f"{settings.airbyte_url}/health", airbyte),
        ):
            if answers(url):
                continue
            log_file = home / "logs" / f"{name.replace(' ', '-').lower()}.log"
            with log_file.open("ab") as output:
                # Ctrl-C is for this process, which then ends them: else a run loses its sources before it stops.
                server = subprocess.Popen(
                    [sys.executable, "-m", *arguments, *parent],
                    cwd=project.folder(), stdout=output, stderr=output, start_new_session=True,
                )  # fmt: skip
            started.append(server)
            _wait_until_up(name, url, server, log_file)
        yield
    finally:
        with undisturbed():  # or a second Ctrl-C would leave one of them behind
            for server in started:
                server.terminate()
            for server in started:
                try:
                    server.wait(10)
                except subprocess.TimeoutExpired:
                    server.kill()
                    server.wait()


@contextmanager
def beside_dev() -> Iterator[None]:
    """What `asgard dev` starts beside the UI in this repository: the demo's calendar and sources."""
    use_demo_calendar()
    with demo_sources(Settings()):
        yield


def findings() -> Iterator[Finding]:
    """What `asgard doctor` also looks at in this repository."""
    url = DemoSettings().api_url
    yield doctor.port_finding("demo API port", url, "/health", "set ASGARD_DEMO_API_URL to another one")


def write_landing_files(settings: Settings) -> None:
    """Write the demo's CSV and JSON files; files that are there already stay untouched."""
    command = [sys.executable, "-m", "deployments.local.demo.landing", "--days", f"{FIRST_DAY}..{LAST_DAY}"]
    done = subprocess.run(
        [*command, "--root", settings.landing_root],
        cwd=project.folder(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SourceError(
            f"the demo's landing files could not be written:\n{done.stderr.strip()}", source="landing"
        )


def _port(url: str) -> str:
    return str(urlparse(url).port or 80)


def _wait_until_up(name: str, url: str, server: subprocess.Popen[bytes], log_file: Path) -> None:
    deadline = time.monotonic() + 30
    while not answers(url):
        if server.poll() is not None or time.monotonic() > deadline:
            said = "\n".join(log_file.read_text(errors="replace").splitlines()[-5:])
            raise SourceError(
                f"the {name} did not start at {url}; {log_file} ends with:\n{said}", source=name
            )
        time.sleep(0.1)
