"""A load in a process of its own, to be killed: `python -m tests.ingest.files.loader_process DAY…`.

Spark tasks read the files, however few.
"""

from __future__ import annotations

import sys

from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.load import commit, load
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.quality.audit import audit
from asgard_assets.spark.session import open_session

SOURCE = FileSource.model_validate(
    {"name": "invoices", "path": "invoices", "ds": {"type": "folder"}, "description": "d"}
)


def main() -> None:
    """Load and commit the days; `ready` on stdout says that the session is there."""
    spark = open_session()
    spark.range(1).count()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    lake = Lake.from_settings()
    loaded = load(lambda: spark, lake, Landing.from_settings(), SOURCE, sys.argv[1:], driver_files=0)
    if loaded.staging.days:
        assert audit(lake, loaded.staging, SOURCE.spec).bad_days == {}
    commit(lake, loaded)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
