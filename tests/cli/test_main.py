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
from asgard_assets.settings import ROOT


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
        ({}, "no Python 3.11 or 3.12 found"),
        ({"python3.11": "exit 0"}, "no Java: Spark needs a JDK 17 or newer"),
        ({"python3.11": "exit 0", "java": "echo 'openjdk version \"11.0.2\"' >&2"}, "Java 11 is too old"),
    ],
)
def test_setup_says_what_the_machine_lacks(tmp_path: Path, there: dict[str, str], said: str):
    """On a machine of bash and coreutils, with an older Python, and what `there` adds."""
    folder, repository = tmp_path / "bin", tmp_path / "a repository"
    folder.mkdir()
    for name in ("bash", "dirname", "sed", "head", "cat", "sha256sum", "cut"):
        (folder / name).symlink_to(shutil.which(name) or name)
    for name, script in ({"python3": "exit 1"} | there).items():  # its check of the version fails
        (folder / name).write_text(f"#!{folder}/bash\n{script}\n")
        (folder / name).chmod(0o755)
    (repository / "deployments" / "local").mkdir(parents=True)
    shutil.copy(ROOT / "deployments" / "local" / "setup.sh", repository / "deployments" / "local")
    environment = {"PATH": str(folder), "HOME": os.environ["HOME"]}
    done = subprocess.run(
        ["bash", "deployments/local/setup.sh"],
        cwd=repository, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"asgard: {said}"), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (repository / ".venv").exists()


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
    assert ask("--json", query) == ['{"id": 1, "note": "a [b] c"}', '{"id": 2, "note": null}']
    assert ask("--rows", "1", query)[-1] == "… and more: --rows 10"
    assert ask("select 1 where false") == ["no rows"]


@pytest.mark.parametrize(
    ("query", "words"),
    [("select nam from silver.orders", "note"), ("selec 1", "syntax error"), ("select * from silver.order", "orders")],
)  # fmt: skip
def test_a_wrong_question_is_answered_with_what_there_is(orders, query, words):
    with pytest.raises(ConfigError, match=words) as caught:
        sql(query)
    assert "LINE 1" not in str(caught.value)
