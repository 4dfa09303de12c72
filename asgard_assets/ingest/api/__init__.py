"""API engine: millions of requests from Spark's workers, answers as rows of a Bronze table.

`run_pipeline` and `stage_source` live in `pipeline`; they are not imported here, so that a loaded code
location pays for the models alone.
"""

from asgard_assets.ingest.api.source.config import load
from asgard_assets.ingest.api.source.models import ApiSource

__all__ = ["ApiSource", "load"]
