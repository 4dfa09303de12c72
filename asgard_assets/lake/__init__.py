"""The lake: Delta tables at `{root}/{stage}/{table}`, and the one way in which every stage writes them."""

from asgard_assets.lake.publish import DS, Lake, LivePart, Published, Rewrite, Staging

__all__ = ["DS", "Lake", "LivePart", "Published", "Rewrite", "Staging"]
