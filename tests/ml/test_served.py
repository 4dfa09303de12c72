"""What models were asked: counts by the deciles of the training set, and what they say of drift and skew."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pandas as pd

from asgard_assets.lake.store import Store
from asgard_assets.ml.served.notes import Notes
from asgard_assets.ml.served.tally import FEWEST_ROWS, SHIFT, Shadow, Tally, added, bins, counted, drift, skew
from asgard_assets.operations.serving.recorder import Recorder

TRAINED = pd.DataFrame(
    {"usage": np.random.default_rng(7).normal(100, 20, 5000), "plan": ["a", "b"] * 2500, "flat": 1.0}
)


def asked(mean: float, rows: int = 1000) -> pd.DataFrame:
    return pd.DataFrame({"usage": np.random.default_rng(8).normal(mean, 20, rows), "flat": 1.0})


def tally_of(frame: pd.DataFrame) -> Tally:
    known = bins(TRAINED, ["usage", "plan", "flat", "gone"])
    served = {
        name: one.model_copy(update={"served": counted(frame[name], one.edges)})
        for name, one in known.items()
    }
    return Tally(rows=len(frame), columns=served)


def test_values_like_those_of_the_training_set_are_no_drift():
    found = drift(tally_of(asked(100)))
    assert set(found) == {"usage", "flat"}, "texts are not compared"
    assert max(found.values()) < 0.05


def test_other_values_are_drift_in_their_column_alone():
    found = drift(tally_of(asked(140)))
    assert found["usage"] > SHIFT > found["flat"]


def test_missing_values_are_drift():
    frame = asked(100)
    frame.loc[::2, "usage"] = None
    assert drift(tally_of(frame))["usage"] > SHIFT


def test_of_few_rows_nothing_is_said():
    assert drift(tally_of(asked(900, FEWEST_ROWS - 1))) == {}


def test_skew_is_against_the_tables_of_now():
    same = tally_of(asked(140))
    now = {"usage": np.random.default_rng(9).normal(140, 20, 3000)}
    assert list(skew(same, now)) == ["usage"] and skew(same, now)["usage"] < SHIFT < drift(same)["usage"]
    assert skew(tally_of(asked(100)), now)["usage"] > SHIFT


def test_of_two_shadows_the_newer_counts():
    one, two = (Tally(shadow=Shadow(version=number, rows=5, differing=1)) for number in (2, 3))
    assert added(added(one, two), two).shadow == Shadow(version=3, rows=10, differing=2)


def test_several_writers_count_together_and_their_files_hold_no_value(tmp_path: Path):
    notes = Notes(Store(str(tmp_path)))
    known = bins(TRAINED, ["usage"])
    recorders = [Recorder(notes, lambda *_: known, day=lambda: "2026-10-05") for _ in range(2)]
    for recorder in recorders:
        threads = [
            threading.Thread(target=recorder.asked, args=("churn", 3, asked(123.456789, 100)))
            for _ in range(4)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        recorder.flush()
        recorder.asked("churn", 3, asked(123.456789, 100), Shadow(version=4, rows=100, differing=2))
        recorder.close()
    found = notes.read("churn", 3)
    assert found.rows == 1000 and sum(found.columns["usage"].served) == 1000
    assert found.shadow == Shadow(version=4, rows=200, differing=4)
    assert drift(found)["usage"] > SHIFT
    assert notes.read("churn", 4) == Tally() == notes.read("nobody", 1)
    [file, _] = (tmp_path / "_served" / "churn" / "3" / "2026-10-05").iterdir()
    assert "123.4" not in file.read_text()


def test_a_file_that_cannot_be_read_is_passed_over(tmp_path: Path):
    notes = Notes(Store(str(tmp_path)))
    notes.write("churn", 1, "2026-10-05", "one", Tally(rows=3))
    (tmp_path / "_served" / "churn" / "1" / "2026-10-05" / "two.json").write_text("{")
    assert notes.read("churn", 1).rows == 3
