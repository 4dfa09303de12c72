"""pyarrow does without pandas until somebody imports it, and then knows it as always."""

import subprocess
import sys

CODE = """
import sys
import pyarrow as pa
from asgard_assets.lake.arrow import without_pandas

without_pandas()
without_pandas()
pa.table({"a": [1, None]})
early = "pandas" in sys.modules
import pandas as pd

nulls = pa.array(pd.Series([1.0, float("nan")])).null_count
frame = pa.Table.from_pandas(pd.DataFrame({"a": [1]})).to_pandas()
waiting = [finder for finder in sys.meta_path if "arrow" in type(finder).__module__]
print(early, nulls, len(frame), waiting)
"""


def test_pandas_is_imported_by_who_wants_it_alone():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=3) == ["False", "1", "1", "[]\n"]
