"""An API source from Python: `ApiSource(**yaml)`. The names under which notebooks and jobs import the model."""

from asgard_assets.ingest.api.source.models import ApiSource

__all__ = ["ApiSource"]
