"""An API source whose sink is a topic, as an asset: a run is a fetch."""

# No `from __future__ import annotations`: Dagster reads the annotations of the asset function as objects.

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from asgard_assets.components.failures import clear_failures
from asgard_assets.components.partitions import windows
from asgard_assets.components.tables import days_of, metered
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.settings import Settings


class FetchRunConfig(dg.Config):
    """Launchpad: whether windows are sent again."""

    again: bool = Field(default=False, description="Send windows again that were sent as a whole.")


def fetch_asset(source: ApiSource, retry: dg.RetryPolicy, metadata: Mapping[str, Any]) -> dg.AssetsDefinition:
    """The topic as an asset. A window that was sent as a whole is sent again only if the run says so."""
    key = dg.AssetKey([source.sink.stage, source.sink.name])
    secrets = {"secrets"} if source.reads_aws_secrets else set[str]()
    spec = dg.AssetSpec(
        key=key,
        description=source.quality.description,
        group_name=source.sink.stage,
        owners=list(source.quality.owners or (Settings().owner,)),
        tags={"stage": source.sink.stage, **source.quality.tags},
        kinds={"api", "kafka"},
        partitions_def=windows(source.every, source.time_zone),
        metadata={**metadata, "dagster/uri": f"kafka://{Settings().kafka}/{source.sink.kafka}"},
    )

    @dg.multi_asset(
        name=f"fetch_{source.name}",
        specs=[spec],
        retry_policy=retry,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=f"api:{source.name}",
        required_resource_keys=secrets,
    )
    @metered
    def fetch_source(context: dg.AssetExecutionContext, config: FetchRunConfig) -> Iterator[Any]:
        from asgard_assets.ingest.api.source.secrets import aws_secrets
        from asgard_assets.ingest.stream.fetch import fetch
        from asgard_assets.ingest.stream.kafka import Kafka

        sent, requests = 0, Counter[str]()
        with clear_failures(), aws_secrets(context.resources.secrets.read if secrets else None):
            for one in fetch(source, days_of(context), Kafka.from_settings(), again=config.again):
                sent += one.sent
                did = {"requests": one.requests, "retries": one.retries, "throttles": one.throttles}
                requests.update(did)
                about = {"sent": one.sent, "unchanged": one.unchanged, "dead_letters": one.refused}
                context.add_asset_metadata(about, asset_key=key, partition_key=one.window)
        yield dg.MaterializeResult(asset_key=key, metadata={"records": sent, **requests})

    return fetch_source
