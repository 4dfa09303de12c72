"""The databases and files beside the lake that a backup holds: Dagster's, MLflow's, Feast's and the gateway's."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings

KEPT = ("dagster", "feast", "gateway", "mlflow.db")
"""What of the home matters; the rest is made again."""
_DUMP, _OWN = ".dump", ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class State:
    """Where it is: `home` by names of KEPT, servers by name with their addresses, and what is backed up elsewhere."""

    home: Mapping[str, Path]
    servers: Mapping[str, str]
    elsewhere: tuple[str, ...]


def state_of(settings: Settings, environment: Mapping[str, str] = os.environ) -> State:
    """As the settings say now."""
    home = settings.home.absolute()
    places = {name: home / name for name in KEPT}
    servers, elsewhere = dict[str, str](), list[str]()
    if environment.get("DAGSTER_HOME"):
        places["dagster"] = Path(environment["DAGSTER_HOME"])
    if host := environment.get("DAGSTER_PG_HOST"):
        user, port = environment["DAGSTER_PG_USERNAME"], environment.get("DAGSTER_PG_PORT", "5432")
        login = f"{user}:{environment.get('DAGSTER_PG_PASSWORD', '')}"
        servers["dagster"] = f"postgresql://{login}@{host}:{port}/{environment['DAGSTER_PG_DB']}"
    for name, address in (
        ("mlflow", settings.mlflow_uri),
        ("feast", settings.feast_registry),
        ("online", settings.online_store),
        ("gateway", settings.database_url),
    ):
        scheme, _, rest = address.partition("://")
        if scheme.partition("+")[0] in ("postgresql", "postgres"):
            servers[name] = f"postgresql://{rest}"
        elif scheme in ("redis", "rediss"):
            elsewhere.append(
                "the online store in Redis: materialize features/online, which fills it from Gold"
            )
        elif address and not scheme.startswith("sqlite"):
            elsewhere.append(f"{name} at {urlsplit(address).hostname}: by the backup of its own server")
    kept = {name: address for name, address in servers.items() if address not in _before(servers, name)}
    return State(places, kept, tuple(elsewhere))


def save(state: State, folder: Path) -> list[str]:
    """Write all of it into the folder. SQLite is copied while it is in use, Postgres by pg_dump. Returns what was saved."""
    saved = list[str]()
    for name, place in state.home.items():
        for file in _files(place):
            target = (
                folder / "home" / name / file.relative_to(place) if place.is_dir() else folder / "home" / name
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            if _is_sqlite(file):
                with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(target)) as copy:
                    source.backup(copy)
            else:
                shutil.copyfile(file, target)
        saved += [name] if place.exists() else []
    for name, address in state.servers.items():
        (folder / "servers").mkdir(parents=True, exist_ok=True)
        _postgres("pg_dump", address, "-Fc", "-f", str(folder / "servers" / f"{name}{_DUMP}"))
        saved.append(f"{name} in Postgres")
    return saved


def put_back(state: State, folder: Path) -> list[str]:
    """Make all of it what the folder holds; what came since is gone. Returns what was put back."""
    done = list[str]()
    for name, place in state.home.items():
        saved = folder / "home" / name
        if not saved.exists():
            continue
        if place.is_dir():
            shutil.rmtree(place)
        for ending in ("", *_OWN):
            Path(f"{place}{ending}").unlink(missing_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if saved.is_dir() else shutil.copyfile)(saved, place)
        done.append(name)
    for name, address in state.servers.items():
        dump = folder / "servers" / f"{name}{_DUMP}"
        if not dump.exists():
            raise ConfigError(f"the backup holds no database of {name}; it was made with other settings")
        _postgres("pg_restore", address, "--clean", "--if-exists", "--no-owner", "--exit-on-error", str(dump))
        done.append(f"{name} in Postgres")
    return done


def _before(servers: Mapping[str, str], name: str) -> list[str]:
    """Addresses of the servers that stand before it: one database of several names is saved once."""
    names = list(servers)
    return [servers[each] for each in names[: names.index(name)]]


def _files(place: Path) -> Iterator[Path]:
    found = sorted(place.rglob("*")) if place.is_dir() else [place]
    yield from (file for file in found if file.is_file() and not file.name.endswith(_OWN))


def _is_sqlite(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(16) == b"SQLite format 3\0"


def _postgres(program: str, address: str, *arguments: str) -> None:
    """Run a program of Postgres; the password goes by the environment, where no list of processes shows it."""
    if shutil.which(program) is None:
        raise ConfigError(
            f"{program} is not installed: install Postgres' client programs (Debian: postgresql-client)"
        )
    place = urlsplit(address)
    plain = place._replace(netloc=place.netloc.replace(f":{place.password}@", "@")).geturl()
    done = subprocess.run(
        [program, *arguments[:-1], "-d", plain, *arguments[-1:]]
        if program == "pg_restore"
        else [program, *arguments, "-d", plain],
        env={**os.environ, **({"PGPASSWORD": place.password} if place.password else {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigError(f"{program} of {place.hostname}{place.path} failed: {done.stderr.strip()[-400:]}")
