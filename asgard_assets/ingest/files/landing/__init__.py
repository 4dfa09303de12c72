"""The landing area: the root under which every source has its folder, local or on S3."""

from asgard_assets.ingest.files.landing.area import File, Landing

__all__ = ["File", "Landing"]
