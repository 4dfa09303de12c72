"""The online store: filled with each entity's newest values, and read back."""

from asgard_assets.ml.online.filling import Latest, fill, newest_event, read

__all__ = ["Latest", "fill", "newest_event", "read"]
