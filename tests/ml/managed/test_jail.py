"""A script that was sent learns from its features, and reaches nothing else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pyarrow as pa
import pytest

from asgard_assets.errors import ModelError
from asgard_assets.ml.managed.trainings import Limits, Trained, run_script
from tests.patience import patience

FEATURES = pa.table({"customer_id": [1, 2, 3, 4], "spent": [1.0, 2.0, 30.0, 40.0], "churned": [1, 1, 0, 0]})
LEARN = """
import os, pandas
from sklearn.linear_model import LogisticRegression
rows = pandas.read_parquet(os.environ["ASGARD_FEATURES"])
model = LogisticRegression().fit(rows[["spent"]], rows["churned"])
metrics = {"accuracy": model.score(rows[["spent"]], rows["churned"])}
print("learned from", len(rows))
"""
LIMITS = Limits(patience(120), 4)


def run(folder: Path, script: str, limits: Limits = LIMITS) -> Trained:
    folder.mkdir()
    return run_script("churn_predictor", script, FEATURES, folder, limits)


def test_a_script_leaves_a_model_and_figures(tmp_path: Path):
    found = run(tmp_path / "run", LEARN)
    assert found.model.feature_names_in_.tolist() == ["spent"]
    assert found.metrics == {"accuracy": 1.0} and "learned from 4" in found.printed


def test_a_script_reaches_no_file_process_network_or_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    secret = tmp_path / "secret"
    secret.write_text("canary-91c2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-91c2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        tries = {
            "file": f"open({str(secret)!r}).read()",
            "folder": f"__import__('os').listdir({str(tmp_path)!r})",
            "write": f"open({str(tmp_path / 'made')!r}, 'w')",
            "parent": f"open('/proc/{os.getpid()}/environ').read()",
            "passwords": "open('/etc/passwd').read()",
            "network": f"__import__('socket').create_connection(('127.0.0.1', {server.getsockname()[1]}))",
            "datagram": "__import__('socket').socket(__import__('socket').AF_INET, __import__('socket').SOCK_DGRAM)",
            "fork": "__import__('os').fork()",
            "program": "__import__('subprocess').run(['/bin/true'])",
            "signal": f"__import__('os').kill({os.getpid()}, 0)",
            "variable": "__import__('os').environ['AWS_SECRET_ACCESS_KEY']",
            "code": "__import__('asgard_assets')",
        }
        lines = [f"{name!r}: lambda: {code}," for name, code in tries.items()]
        script = "tries = {\n" + "\n".join(lines) + "\n}\ndone = []\n" + LEARN
        script += "for name, one in tries.items():\n    try:\n        one()\n        done.append(name)\n    except Exception:\n        pass\nprint('done:', done)\n"
        found = run(tmp_path / "run", script)
    assert "done: []" in found.printed, found.printed
    assert "canary" not in found.printed and not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("raise ValueError('no such column: spend')", "no such column: spend"),
        ("print('nothing')", "left no model"),
        ("model = (", "SyntaxError"),
        ("model = open", "is not read: it holds io.open"),
        ("x = bytearray(8 << 30)", "MemoryError|signal"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import os; open(os.environ['ASGARD_MODEL'], 'wb').write(b'x')", "is not read|no model"),
    ],
)
def test_a_script_that_fails_says_why(tmp_path: Path, script: str, why: str):
    with pytest.raises(ModelError, match=why):
        run(tmp_path / "run", script)


def test_a_script_that_does_not_end_is_ended(tmp_path: Path):
    with pytest.raises(ModelError, match="did not end within"):
        run(tmp_path / "run", "import time\nwhile True: time.sleep(1)", Limits(3, 4))


def test_a_model_that_would_run_code_is_not_read(tmp_path: Path):
    script = (
        "import os, skops.io\nfrom sklearn.preprocessing import FunctionTransformer\n"
        "skops.io.dump(FunctionTransformer(os.system), os.environ['ASGARD_MODEL'])"
    )
    with pytest.raises(ModelError, match="is not read: it holds"):
        run(tmp_path / "run", script)
