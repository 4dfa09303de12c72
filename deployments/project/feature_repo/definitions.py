"""What of the feature repository needs code: on-demand views and services.

Entities and feature views are YAML files under `defs/features`.
"""

from asgard_assets.ml.repository import feast_views

globals().update(feast_views())  # the feast CLI collects module attributes
