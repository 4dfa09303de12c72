"""Steps as OpenLineage events (https://openlineage.io/docs/spec): START, then COMPLETE, FAIL or ABORT."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from asgard_assets.telemetry.lineage.steps import Column, Dataset, Place, Step
from asgard_assets.version import VERSION

NAMESPACE = "asgard"
"""Of jobs: a job is an asset."""
PRODUCER = f"asgard://asgard-assets/{VERSION}"
_SPEC = "https://openlineage.io/spec"
_EVENT = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_MOST_PARTITIONS = 100
_ERROR_CHARACTERS = 4_000

Event = dict[str, Any]


def events(step: Step) -> list[Event]:
    """What is to be sent of a step; equal each time that it is called for the same step."""
    found = [_event(step, "START", step.started, done=False)]
    if step.end and step.ended:
        found.append(_event(step, step.end, step.ended, done=True))
    return found


def _event(step: Step, kind: str, moment: datetime, done: bool) -> Event:
    return {
        "eventType": kind,
        "eventTime": moment.astimezone(UTC).isoformat(timespec="milliseconds"),
        "producer": PRODUCER,
        "schemaURL": _EVENT,
        "run": {"runId": step.id, "facets": _run_facets(step, done)},
        "job": {"namespace": NAMESPACE, "name": step.asset, "facets": _job_facets(step)},
        "inputs": [_dataset(one) for one in step.inputs],
        "outputs": [_output(step, done)],
    }


def _run_facets(step: Step, done: bool) -> dict[str, Any]:
    parent = {"run": {"runId": step.run_id}, "job": {"namespace": NAMESPACE, "name": step.job}}
    found = {"parent": _facet("ParentRunFacet", "1-2-0", **parent)}
    tags = [("partition", one) for one in step.partitions[:_MOST_PARTITIONS]]
    if more := len(step.partitions) - _MOST_PARTITIONS:
        tags += [("more_partitions", str(more))] if more > 0 else []
    tags += list(step.tags.items())
    if tags:
        told = [{"key": key, "value": value, "source": "ASGARD"} for key, value in tags]
        found["tags"] = _facet("TagsRunFacet", "1-0-0", tags=told)
    if done and step.error:
        text = step.error[:_ERROR_CHARACTERS]
        found["errorMessage"] = _facet(
            "ErrorMessageRunFacet", "1-0-1", message=text, programmingLanguage="PYTHON"
        )
    return found


def _job_facets(step: Step) -> dict[str, Any]:
    kind = "STREAMING" if step.streaming else "BATCH"
    found = {
        "jobType": _facet(
            "JobTypeJobFacet", "2-0-4", processingType=kind, integration="ASGARD", jobType="ASSET"
        )
    }
    if step.owners:
        owners = [{"name": owner, "type": "OWNER"} for owner in step.owners]
        found["ownership"] = _facet("OwnershipJobFacet", "1-0-1", owners=owners)
    return found


def _dataset(one: Dataset) -> dict[str, Any]:
    facets = dict[str, Any]()
    if one.columns:
        facets["schema"] = _facet("SchemaDatasetFacet", "1-2-0", fields=[_column(c) for c in one.columns])
    if one.description:
        facets["documentation"] = _facet("DocumentationDatasetFacet", "1-1-0", description=one.description)
    if one.uri:
        facets["dataSource"] = _facet("DatasourceDatasetFacet", "1-0-1", name=one.place.name, uri=one.uri)
    return {**_place(one.place), "facets": facets}


def _output(step: Step, done: bool) -> dict[str, Any]:
    found = _dataset(step.output)
    made = {
        column.name: {"inputFields": [{**_place(place), "field": name} for place, name in column.made_of]}
        for column in step.output.columns
        if column.made_of
    }
    if made:
        found["facets"]["columnLineage"] = _facet("ColumnLineageDatasetFacet", "1-2-0", fields=made)
    if not done:
        return found
    if step.version:
        found["facets"]["version"] = _facet(
            "DatasetVersionDatasetFacet", "1-0-1", datasetVersion=step.version
        )
    if step.checks:
        found["facets"]["dataQualityAssertions"] = _facet(
            "DataQualityAssertionsDatasetFacet",
            "1-1-0",
            assertions=[
                {"assertion": one.check, "success": one.passed, "severity": one.severity}
                for one in step.checks
            ],
        )
    sizes = {"rowCount": step.rows, "size": step.bytes}
    if told := {name: value for name, value in sizes.items() if value is not None}:
        facet = _facet("OutputStatisticsOutputDatasetFacet", "1-0-2", **told)
        found["outputFacets"] = {"outputStatistics": facet}
    return found


def _column(column: Column) -> dict[str, Any]:
    told = {"name": column.name, "type": column.type, "description": column.description}
    return {name: value for name, value in told.items() if value}


def _place(place: Place) -> dict[str, str]:
    return {"namespace": place.namespace, "name": place.name}


def _facet(kind: str, version: str, **fields: Any) -> dict[str, Any]:
    return {
        "_producer": PRODUCER,
        "_schemaURL": f"{_SPEC}/facets/{version}/{kind}.json#/$defs/{kind}",
        **fields,
    }


def all_events(steps: Sequence[Step]) -> list[Event]:
    """Of several steps, in the order of their times."""
    return sorted((event for step in steps for event in events(step)), key=lambda event: event["eventTime"])
