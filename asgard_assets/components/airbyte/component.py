"""Airbyte connections as assets `[airbyte, <stream>]`, from a snapshot that is committed beside `defs.yaml`.

The code location loads from `snapshot.json` and never asks a server: not under `dagster dev`, not in a run.
`asgard airbyte refresh` rewrites it. A sync is unpartitioned; it lands files, and each stream's Bronze table,
which comes with the stream unless a `defs.yaml` declares it, gives their rows a `ds`.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
import yaml
from dagster.components.resolved.base import resolve_fields
from dagster.components.utils.defs_state import DefsStateConfig, DefsStateConfigArgs, ResolvedDefsStateConfig
from dagster_airbyte import AirbyteConnectionTableProps, AirbyteWorkspaceComponent
from dagster_airbyte.components.workspace_component.component import BaseAirbyteWorkspaceModel
from dagster_airbyte.resources import BaseAirbyteWorkspace
from dagster_shared.serdes.objects.models.defs_state_info import DefsStateManagementType
from pydantic import BaseModel, Field, PrivateAttr, model_validator

from asgard_assets import project
from asgard_assets.components.airbyte import snapshot as airbyte_snapshot
from asgard_assets.components.airbyte.bronze import Bronze, bronze_tables, folder_of
from asgard_assets.components.airbyte.runs import report
from asgard_assets.components.airbyte.snapshot import (
    REFRESH,
    SNAPSHOT,
    Connection,
    Snapshot,
    refuse_namesakes,
)
from asgard_assets.components.authoring.descriptions import described
from asgard_assets.components.authoring.source_scaffolds import AirbyteScaffolder
from asgard_assets.components.failures import clear_failures, retry_policy
from asgard_assets.components.pulls import Pull, pull_schedule
from asgard_assets.errors import ConfigError
from asgard_assets.resources.airbyte import Client, Workspace, beta_accepted
from asgard_assets.settings import Settings


class WorkspaceModel(BaseAirbyteWorkspaceModel):
    """The `workspace:` of a defs.yaml: which one, how to log in, how long to wait."""

    type: Literal["oss", "cloud"] = Field(
        default="oss",
        description="oss: self-managed, at the address in setting ASGARD_AIRBYTE_URL; cloud: Airbyte Cloud.",
    )
    workspace_id: str = Field(
        description="Airbyte's id of the workspace. The snapshot must be of the same one."
    )
    rest_api_base_url: str = Field(
        default="", description="Address of Airbyte's API. Default: that of ASGARD_AIRBYTE_URL."
    )
    configuration_api_base_url: str = Field(
        default="", description="Address of Airbyte's configuration API. Default: that of ASGARD_AIRBYTE_URL."
    )
    request_timeout: int = Field(default=60, ge=1, description="Seconds to wait for an answer of the API.")
    poll_interval: float = Field(
        default=1.0, gt=0, description="Seconds between two questions about a running sync."
    )
    poll_previous_running_sync: bool = Field(
        default=True, description="If a sync already runs: true follows it, false fails."
    )
    patience_seconds: float = Field(
        default=600, ge=0, description="How long a running sync is followed while Airbyte does not answer."
    )
    client_id: str | None = Field(default=None, description="Reference to a client id: env:NAME.")
    client_secret: str | None = Field(default=None, description="Reference to a client secret: env:NAME.")
    username: str | None = Field(default=None, description="Reference to a user name: env:NAME.")
    password: str | None = Field(default=None, description="Reference to a password: env:NAME.")

    @model_validator(mode="after")
    def _one_way_to_log_in(self) -> WorkspaceModel:
        client = [self.client_id, self.client_secret]
        basic = [self.username, self.password]
        if len({value is None for value in client}) > 1 or len({value is None for value in basic}) > 1:
            raise ValueError("client_id and client_secret belong together, and so do username and password")
        if None not in client and None not in basic:
            raise ValueError("choose one: client_id and client_secret, or username and password")
        if self.type == "cloud" and None in client:
            raise ValueError("Airbyte Cloud wants client_id and client_secret")
        return self


class ByName(dg.Model):
    by_name: Sequence[str] = Field(description="Names of the connections.")


class ById(dg.Model):
    by_id: Sequence[str] = Field(description="Ids of the connections.")


class ByTag(dg.Model):
    by_tag: Sequence[str] = Field(description="Tags in Airbyte; a connection that has one of them is chosen.")


class ByPattern(dg.Model):
    by_pattern: str | Sequence[str] = Field(description="Patterns of names, such as crm-*.")


Selector = Callable[[Connection], bool]


def _workspace(context: dg.ResolutionContext, model: Any) -> Workspace:
    # Through the model: `resolve_fields` leaves out what the YAML leaves out, and so would lose its defaults.
    values = WorkspaceModel(**resolve_fields(model, WorkspaceModel, context)).model_dump()
    with beta_accepted():
        return Workspace(cloud=values.pop("type") == "cloud", **values)


def _selector(context: dg.ResolutionContext, model: Any) -> Selector | None:
    if isinstance(model, str):
        return context.resolve_value(model, as_type=Any)  # pyright: ignore[reportArgumentType]
    if isinstance(model, ByTag):
        wanted = set(model.by_tag)
        return lambda connection: not wanted.isdisjoint(connection.tags)
    if isinstance(model, ByPattern):
        patterns = [model.by_pattern] if isinstance(model.by_pattern, str) else model.by_pattern
        return lambda connection: any(fnmatch.fnmatchcase(connection.name, p) for p in patterns)
    if isinstance(model, ByName):
        return Exactly("name", tuple(model.by_name))
    return Exactly("id", tuple(model.by_id))


class Exactly:
    """Chooses connections by a value of theirs, and knows which values it looks for."""

    def __init__(self, attribute: str, wanted: tuple[str, ...]) -> None:
        self.attribute, self.wanted = attribute, wanted

    def __call__(self, connection: Connection) -> bool:
        return getattr(connection, self.attribute) in self.wanted


@dg.scaffold_with(AirbyteScaffolder)
class AirbyteSyncs(AirbyteWorkspaceComponent):
    """Assets for the selected streams of a workspace's connections; one op, and one pool, a connection."""

    # Narrower than in the parent: one class for both kinds of workspace, and a selector that sees tags.
    workspace: Annotated[Workspace, dg.Resolver(_workspace, model_field_type=WorkspaceModel)] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        description="Which workspace of Airbyte, how to log in, and how long to wait for it."
    )
    connection_selector: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        Selector | None,
        dg.Resolver(_selector, model_field_type=str | ByName | ById | ByTag | ByPattern),
    ] = Field(default=None, description="Which connections become assets. Default: all.")
    owners: tuple[str, ...] = Field(
        default=(), description="Owners of the streams; default: setting ASGARD_OWNER."
    )
    tags: dict[str, str] = Field(default_factory=dict, description="Tags of every stream.")
    descriptions: dict[str, str] = Field(
        default_factory=dict, description="What a stream holds, by its name."
    )
    retries: int | None = Field(
        default=None, ge=0, description="Retries of a sync that failed; default: setting ASGARD_RETRIES."
    )
    deps: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="What a stream is made from: asset keys such as crm/users, by the stream's name; `*`: all.",
    )
    bronze: Bronze = Field(default_factory=Bronze, description="How streams become Bronze tables.")
    # `Any`: Dagster refuses a model whose fields have patterns, before it looks at the resolver.
    pull: Annotated[
        Any,
        dg.Resolver(
            lambda context, pull: pull,
            model_field_type=Pull | None,
            description='When connections are synced that Airbyte does not schedule: {every: day, at: "01:00"}, '
            '{every: 6 hours}, {cron: "0 1 * * 1-5"}.',
        ),
    ] = None
    # The state is the committed file. These fields keep `dagster dev` from asking the server at each load.
    defs_state: ResolvedDefsStateConfig = Field(
        default=DefsStateConfigArgs(
            management_type=DefsStateManagementType.LOCAL_FILESYSTEM, refresh_if_dev=False
        ),
        description="How Dagster keeps the state of the connections. Leave it out: the state is snapshot.json.",
    )

    _folder: Path | None = PrivateAttr(None)

    @classmethod
    def get_model_cls(cls) -> type[BaseModel] | None:
        return described(super().get_model_cls(), cls, {})

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> AirbyteSyncs:
        component = super().load(attributes, context)
        component._folder = context.path
        return component

    @property
    def defs_state_config(self) -> DefsStateConfig:
        key = f"airbyte-{self.workspace.workspace_id}"
        return DefsStateConfig.from_args(self.defs_state, default_key=key)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return self.build_defs_from_state(context, context.path / SNAPSHOT)

    async def refresh_state(self, project_root: Path) -> str:
        """What `dg utils refresh-defs-state` calls: rewrites the committed snapshot."""
        assert self._folder is not None
        airbyte_snapshot.refresh(self._folder, self.workspace, write=True)
        return "committed"

    async def write_state_to_path(self, state_path: Path) -> None:
        state_path.write_text(airbyte_snapshot.fetch(self.workspace), encoding="utf-8")

    def build_defs_from_state(
        self, context: dg.ComponentLoadContext, state_path: Path | None
    ) -> dg.Definitions:
        """Raises ConfigError where there is no snapshot, a broken one, or one of another workspace."""
        assert state_path is not None
        snapshot = airbyte_snapshot.read(state_path, self.workspace.workspace_id)
        chosen = self._chosen(snapshot, state_path)
        for connection in chosen.values():
            refuse_namesakes(connection.name, connection.namesakes)
        streams = [
            p for p in snapshot.data.to_airbyte_connection_table_props_data() if p.connection_id in chosen
        ]
        self._refuse_unknown(streams, state_path)
        specs: dict[str, list[dg.AssetSpec]] = defaultdict(list)
        owner_of: dict[dg.AssetKey, str] = {}
        for props in streams:
            spec = self._with_status(self.translator.get_asset_spec(props), chosen[props.connection_id])
            other = owner_of.setdefault(spec.key, f"{props.connection_name}/{props.stream_name}")
            if other != f"{props.connection_name}/{props.stream_name}":
                raise ConfigError(
                    f"{state_path}: connections {other.split('/')[0]} and {props.connection_name} both have "
                    f"{spec.key.to_user_string()}; give one a prefix in Airbyte, or a `translation` here",
                    file=str(state_path),
                )
            specs[props.connection_id].append(spec)
        syncs = [self._syncs(chosen[i].name, found) for i, found in specs.items()]
        tables, sensors = bronze_tables(
            self.bronze,
            [(props, chosen[props.connection_id], self._key(props)) for props in streams],
            declared_in=_defs_folder(context.path),
            owners=self.owners,
            tags=self.tags,
            descriptions=self.descriptions,
        )
        schedules = [self._schedule(chosen[i], found) for i, found in specs.items()]
        return dg.Definitions(
            assets=[*syncs, *tables], sensors=sensors, schedules=[each for each in schedules if each]
        )

    def _schedule(
        self, connection: Connection, specs: Sequence[dg.AssetSpec]
    ) -> dg.ScheduleDefinition | None:
        if self.pull is None or not connection.active or connection.schedule:
            return None
        name, keys = name_of(connection.name), [spec.key for spec in specs]
        return pull_schedule(f"airbyte_{name}", self.pull, keys, source=name)

    def get_asset_spec(self, props: AirbyteConnectionTableProps) -> dg.AssetSpec:
        """The asset of a stream. Uses nothing of the destination: at run time it is not known."""
        known = self.descriptions.get(props.stream_name)
        upstream = [*self.deps.get("*", ()), *self.deps.get(props.stream_name, ())]
        return dg.AssetSpec(
            key=["airbyte", name_of(props.table_name)],
            deps=[dg.AssetKey.from_user_string(key) for key in upstream],
            group_name="airbyte",
            description=f"{known or f'Stream {props.stream_name}.'} "
            f"Synced by the Airbyte connection {props.connection_name} into landing files.",
            owners=list(self.owners or (Settings().owner,)),
            tags={"stage": "airbyte", "connection": name_of(props.connection_name), **self.tags},
            kinds={"airbyte"},
            metadata={
                "dagster/column_schema": columns_of(props.json_schema),
                "airbyte/connection_id": props.connection_id,
                "airbyte/stream": props.stream_name,
                "airbyte/landing": folder_of(self.bronze, props),
            },
            skippable=True,
        )

    def execute(
        self, context: dg.AssetExecutionContext, airbyte: BaseAirbyteWorkspace
    ) -> Iterable[dg.AssetMaterialization | dg.MaterializeResult]:
        """Sync the connection, wait for its end, and report each stream's figures; see `airbyte_runs.report`."""
        client = airbyte.get_client()
        assert isinstance(client, Client)
        yield from report(context, client)

    def _chosen(self, snapshot: Snapshot, path: Path) -> dict[str, Connection]:
        select = self.connection_selector or (lambda connection: True)
        if isinstance(select, Exactly):
            known = {getattr(c, select.attribute) for c in snapshot.connections.values()}
            if missing := [value for value in select.wanted if value not in known]:
                raise ConfigError(
                    f"{path}: connection_selector names {', '.join(missing)}, which the workspace did not have; "
                    f"correct it, or run `{REFRESH}`",
                    file=str(path),
                )
        return {i: c for i, c in snapshot.connections.items() if select(c)}

    def _refuse_unknown(self, streams: Sequence[AirbyteConnectionTableProps], path: Path) -> None:
        known = {"*", *(props.stream_name for props in streams)}
        for field in ("deps", "descriptions"):
            if unknown := sorted(set(getattr(self, field)) - known):
                raise ConfigError(
                    f"{path.parent / 'defs.yaml'}: {field} names {', '.join(unknown)}, which no chosen connection "
                    f"syncs; correct it, or run `{REFRESH}`",
                    file=str(path),
                )

    def _with_status(self, spec: dg.AssetSpec, connection: Connection) -> dg.AssetSpec:
        """A paused connection's streams stay visible, and say why they are not synced."""
        tags = {f"airbyte/tag-{name_of(tag)[:50]}": "" for tag in connection.tags}
        shown = {"airbyte/status": connection.status, "airbyte/schedule": connection.schedule or "none"}
        spec = spec.merge_attributes(metadata=shown, tags=tags)
        if connection.active:
            return spec
        paused = f"{spec.description} The connection is {connection.status} in Airbyte, so it is skipped."
        return spec.replace_attributes(
            description=paused, tags={**spec.tags, "airbyte/status": connection.status}
        )

    def _key(self, props: AirbyteConnectionTableProps) -> dg.AssetKey:
        return self.translator.get_asset_spec(props).key

    def _syncs(self, connection_name: str, specs: Sequence[dg.AssetSpec]) -> dg.AssetsDefinition:
        name = name_of(connection_name)

        # Airbyte refuses a second sync of a connection; the pool makes runs wait for each other instead.
        @dg.multi_asset(
            name=f"airbyte_{name}",
            can_subset=True,
            specs=specs,
            pool=f"airbyte/{name}",
            retry_policy=retry_policy(self.retries),
        )
        def sync(context):  # Dagster cannot read the annotation as the string that it is here
            with clear_failures():
                yield from self.execute(context, self.workspace)

        return sync


def refresh_snapshot(folder: Path | None = None, *, write: bool = True) -> str:
    """Ask Airbyte for its connections, rewrite the snapshot in `folder`, and return the difference as text.

    Without a folder, every instance of the component in this project. The same workspace gives the same
    bytes; an empty text means that nothing changed. `write=False` only compares, for CI. Raises SourceError
    when Airbyte does not answer.
    """
    if folder is None:
        return "".join(refresh_snapshot(found, write=write) for found in snapshot_folders())
    attributes = yaml.safe_load((folder / "defs.yaml").read_text())["attributes"]
    component = AirbyteSyncs.resolve_from_dict(attributes)
    return airbyte_snapshot.refresh(folder, component.workspace, write=write)


def snapshot_folders(root: Path | None = None) -> list[Path]:
    """Folders below `root` (the project's definitions) whose defs.yaml is an instance of this component."""
    root = root or project.current().defs
    wanted = f"type: {__package__}.{AirbyteSyncs.__name__}"
    return [path.parent for path in sorted(root.rglob("defs.yaml")) if wanted in path.read_text()]


def columns_of(schema: Mapping[str, Any]) -> dg.TableSchema:
    """A stream's JSON schema as columns; nulls are not shown, for any column may be null."""
    columns = []
    for name, column in (schema.get("properties") or {}).items():
        kinds = column.get("type", "unknown")
        kinds = [kinds] if isinstance(kinds, str) else list(kinds)
        text = " or ".join(kind for kind in kinds if kind != "null") or "null"
        columns.append(dg.TableColumn(name, column.get("format", text), column.get("description")))
    return dg.TableSchema(columns)


def name_of(text: str) -> str:
    """A name that asset keys, ops, pools and folders can hold; landing folders are named in the same way."""
    return re.sub(r"[^A-Za-z0-9_]", "_", text)


def _defs_folder(path: Path) -> Path:
    """The `defs` folder that an instance lies in."""
    return next((parent for parent in path.parents if parent.name == "defs"), path)
