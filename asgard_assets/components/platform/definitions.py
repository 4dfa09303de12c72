"""Sources that were made through the API: each is what a `defs.yaml` holds, as immutable revisions in the lake.

    <lake>/_managed/definitions/<name>.<number>.json

A source that is deleted gets a last revision that says so. Its table stays.
"""

# No `from __future__ import annotations`: Dagster wants to see types, not their names.
import importlib
import logging
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import AliasChoices, Field, JsonValue, StringConstraints, ValidationError

from asgard_assets.components.platform.contracts import REVISION, tag_of
from asgard_assets.errors import AsgardError, ConfigError
from asgard_assets.lake import Lake
from asgard_assets.lake.store import Store
from asgard_assets.quality.tables import Model
from asgard_assets.revisions import NAME, Numbered, Revisions
from asgard_assets.settings import Settings

log = logging.getLogger(__name__)
FOLDER = "_managed/definitions"
WORKSPACE = "workspace"
"""Tag of assets that were made through the API."""

SourceKind = Literal["files", "api", "database", "stream"]
COMPONENTS: dict[str, str] = {
    "files": "asgard_assets.components.files.FileIngest",
    "api": "asgard_assets.components.api.ApiIngest",
    "database": "asgard_assets.components.sql.SqlIngest",
    "stream": "asgard_assets.components.stream.KafkaIngest",
}
_CODE = {"middleware", "checks", "deps", "record", "replay", "transport"}
"""Keys that name code, files of this machine or SQL over the whole lake: they are for those who may change the project."""
_QUERY = "query"
_REFERENCES = ("env:", "aws-secret:")
_KEPT = re.compile(r"file:|vault:|env:(ASGARD_|AWS_|DATABASE_URL|SECRET_KEY|DAGSTER_)")


class ManagedDefinition(Model):
    """A source, as the `defs.yaml` of a project would hold it, and whose it is."""

    name: Annotated[str, StringConstraints(pattern=NAME)] = Field(
        description="Name of the source, and its id in the API."
    )
    kind: SourceKind = Field(description="What is read: files, an API, a database or a topic of Kafka.")
    attributes: dict[str, JsonValue] = Field(description="What a defs.yaml holds under `attributes`.")
    workspace: str = Field(default="default", description="Workspace that it belongs to.")
    cluster: str = Field(default="local", description="Where its runs start.")
    owner: str = Field(default="", description="Account that made this revision.")
    created: int = Field(description="When it was first made, in seconds since 1970.")
    deleted: bool = Field(default=False, description="Whether it was deleted; its table stays.")

    @property
    def type(self) -> str:
        """The component, as a `defs.yaml` names it."""
        return COMPONENTS[self.kind]


def definitions_in(store: Store) -> Revisions[ManagedDefinition]:
    """The managed sources of a lake, those that were deleted among them."""
    return Revisions(store, FOLDER, ManagedDefinition, "the ingestion")


def component_of(definition: ManagedDefinition) -> Any:
    """The component that makes its assets. Raises ConfigError that names the field that is wrong."""
    refuse_foreign(definition.attributes)
    module, _, name = definition.type.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    try:
        return kind.load(kind.get_model_cls().model_validate(definition.attributes), None)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "source"
        raise ConfigError(f"source: {place}: {first['msg'].removeprefix('Value error, ')}") from None


def refuse_foreign(attributes: JsonValue, place: str = "source") -> None:
    """Raises ConfigError where a source names code, files or variables of the platform: those are for its operators."""
    if isinstance(attributes, dict):
        for key, value in attributes.items():
            if key in _CODE or (key == _QUERY and place.endswith(".rows")):
                raise ConfigError(
                    f"{place}.{key} is for sources in the project's own files; leave it out, or declare the source in a defs.yaml"
                )
            refuse_foreign(value, f"{place}.{key}")
    elif isinstance(attributes, list):
        for value in attributes:
            refuse_foreign(value, place)
    elif isinstance(attributes, str) and any("\ud800" <= sign <= "\udfff" for sign in attributes):
        raise ConfigError(f"{place}: half of a surrogate pair is no text; write the whole character")
    elif isinstance(attributes, str) and _is_kept(attributes):
        raise ConfigError(
            f"{place}: files and the platform's own variables are no secrets of a source; name another variable, as env:NAME"
        )


def _is_kept(text: str) -> bool:
    """Whether it reads a file or a variable of the platform: by its name, or because the settings themselves read it."""
    if _KEPT.match(text) or "${" in text:
        return True
    return text.startswith(_REFERENCES) and text.partition("#")[0] in _read_by_settings()


def _read_by_settings() -> set[str]:
    """References and variables that the settings take secrets from, such as the password of Kafka."""
    settings = Settings()
    fields = type(settings).model_fields.values()
    aliases = (one.validation_alias for one in fields if isinstance(one.validation_alias, AliasChoices))
    values = [getattr(settings, name) for name in type(settings).model_fields]
    texts = [text for each in values for text in (each.values() if isinstance(each, dict) else (each,))]
    return {f"env:{name}" for one in aliases for name in one.choices} | {
        text.partition("#")[0] for text in texts if isinstance(text, str) and text.startswith(_REFERENCES)
    }


def managed_definitions(own: dg.Definitions, store: Store | None = None) -> dg.Definitions:
    """Assets, sensors and schedules of the managed sources, but for tables that the project's `own` definitions make.

    A lake that cannot be read, and a source that cannot be made, are told in the log, and give none.
    """
    try:
        found = definitions_in(store or Lake.from_settings()).newest()
    except (AsgardError, OSError) as error:
        log.warning("sources that were made through the API are not loaded: %s", error)
        return dg.Definitions()
    taken = {key for each in own.assets or () if isinstance(each, dg.AssetsDefinition) for key in each.keys}
    made = list[dg.Definitions]()
    for one in found:
        if one.document.deleted:
            continue
        try:
            defs = built(one)
        except (AsgardError, dg.DagsterError) as error:
            log.warning("%s, made through the API, is not loaded: %s", one.document.name, error)
            continue
        keys = set(_keys(defs))
        if taken & keys:
            log.warning("%s: another definition makes one of its tables: it is left out", one.document.name)
            continue
        taken |= keys
        made.append(defs)
    return dg.Definitions.merge(*made) if made else dg.Definitions()


def built(one: Numbered[ManagedDefinition]) -> dg.Definitions:
    """What the component of a managed source makes, with the workspace as a tag of its assets."""
    defs = component_of(one.document).build_defs(None)
    tags = {"made_by": "api", WORKSPACE: tag_of(one.document.workspace)}
    told = {REVISION: one.number}

    def marked(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.merge_attributes(tags=tags, metadata=told)

    assets = [
        each.map_asset_specs(marked) for each in defs.assets or () if isinstance(each, dg.AssetsDefinition)
    ]
    return dg.Definitions(assets=assets, schedules=defs.schedules, sensors=defs.sensors)


def refuse_other_tables(definition: ManagedDefinition) -> list[str]:
    """Its Bronze tables. Raises ConfigError where one does not bear the source's name: so it is known whose each is."""
    found = tables_of(definition)
    for table in found:
        stage, _, name = table.partition("/")
        if stage != "bronze" or not (name == definition.name or name.startswith(f"{definition.name}_")):
            raise ConfigError(
                f"source: it would make {table}; tables of {definition.name} are bronze/{definition.name} or begin with it and _"
            )
    return found


def maker_of(store: Store, table: str) -> ManagedDefinition | None:
    """The managed source that makes the table bronze/`table`; of one that was deleted, whose it was."""
    kept = definitions_in(store)
    for name, number in kept.numbers().items():
        if table == name or table.startswith(f"{name}_"):
            found = kept.load(name, number).document
            if f"bronze/{table}" in tables_of(found):
                return found
    return None


def tables_of(definition: ManagedDefinition) -> list[str]:
    """The Bronze tables that it makes, as stage/name. Raises ConfigError."""
    component = component_of(definition)
    try:
        return [key.to_user_string() for key in _keys(component.build_defs(None))]
    except AsgardError:
        raise
    except Exception as error:  # Dagster refuses tags, owners and names with errors of several kinds
        raise ConfigError(f"source: {' '.join(str(error).split())[:300]}") from error


def _keys(defs: dg.Definitions) -> Iterator[dg.AssetKey]:
    for each in defs.assets or ():
        if isinstance(each, dg.AssetsDefinition):
            yield from each.keys
