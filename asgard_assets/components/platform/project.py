"""The definitions of a project: its own files, and what the platform adds."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from asgard_assets import project
from asgard_assets.components.authoring.code_references import with_code_references
from asgard_assets.components.authoring.component_docs import describe_components_where_they_are_shown
from asgard_assets.components.authoring.sandbox import render_yaml_in_a_sandbox
from asgard_assets.components.dbt.sources import with_source_freshness
from asgard_assets.components.following.conditions import with_automation
from asgard_assets.components.following.up_to_date import with_up_to_date
from asgard_assets.components.following.zones import between_zones
from asgard_assets.components.platform.definitions import managed_definitions
from asgard_assets.components.platform.features import managed_features
from asgard_assets.components.platform.sources import managed_sources
from asgard_assets.components.platform.trainings import managed_trainings
from asgard_assets.components.platform.transforms import managed_transforms
from asgard_assets.components.served import with_served
from asgard_assets.documents import refuse_bombs_in
from asgard_assets.resources.environment import executor, resources
from asgard_assets.spark.rights import check_step_tags


def project_definitions(module: Path) -> dg.Definitions:
    """Everything under the project's `defs` folder, with resources bound by environment.

    `module` is the file that calls this, `Path(__file__)`. Slow libraries stay unimported until a step needs them.
    """
    project.use(module)
    render_yaml_in_a_sandbox()
    describe_components_where_they_are_shown()
    refuse_bombs_in(module.parent / "defs")
    loaded = dg.load_from_defs_folder(path_within_project=module.parent)
    own = dg.Definitions(resources=resources(), executor=executor())
    made = (managed_transforms, managed_sources, managed_definitions, managed_features, managed_trainings)
    sent = [each(loaded) for each in made]
    whole = between_zones(dg.Definitions.merge(loaded, *sent, own))
    check_tags_of_steps(whole)
    return with_code_references(with_automation(with_up_to_date(with_source_freshness(with_served(whole)))))


def check_tags_of_steps(definitions: dg.Definitions) -> None:
    """Raises ConfigError where a step's tags ask for rights that are the deployment's: Dagster filters only a run's."""
    for asset in definitions.assets or ():
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:
            check_step_tags(asset.node_def.tags, f"{' '.join(key.to_user_string() for key in asset.keys)}")
