"""Airbyte's own client drives the development server: what it answers must fit Airbyte's published models.

The client validates every answer against the models that Airbyte generates from its OpenAPI description, so an
answer of the wrong shape raises here.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from airbyte_api import AirbyteAPI, api, errors, models

from deployments.local.airbyte.login import Login
from deployments.local.airbyte.workspace import Workspace
from tests.checkout import ROOT
from tests.deployments.test_airbyte_server import Server, running, until
from tests.fakes.airbyte import Fake, landed, only_id, run, serving

MANIFEST = ROOT / "deployments/local/airbyte/manifests/tickets.yaml"
FINISHED = ("succeeded", "failed", "cancelled")


def client(url: str, **security: Any) -> AirbyteAPI:
    known = models.Security(**security) if security else None
    return AirbyteAPI(server_url=f"{url}/api/public/v1", security=known, timeout_ms=120_000)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.mark.slow
def test_every_answer_about_what_there_is_fits_the_published_models(fake):
    syncs = fake.open(names=tuple(f"c{n}" for n in range(45)), prefixes=True, tags=("crm",))
    run(syncs)
    with serving(syncs) as url:
        airbyte = client(url)
        assert airbyte.health.get_health_check().raw_response.status_code == 200
        (workspace,) = airbyte.workspaces.list_workspaces(
            request=api.ListWorkspacesRequest()
        ).workspaces_response.data
        assert workspace.workspace_id == syncs.registry.id
        found, offset = [], 0
        while True:  # as a user of the client walks the pages
            page = airbyte.connections.list_connections(
                request=api.ListConnectionsRequest(
                    workspace_ids=[workspace.workspace_id], limit=20, offset=offset
                )
            ).connections_response
            found += page.data
            if not page.next:
                break
            offset += 20
        assert [c.name for c in found] == [f"c{n}" for n in range(45)]
        assert {c.status for c in found} == {models.ConnectionStatusEnum.ACTIVE}
        assert [tag.name for tag in found[0].tags] == ["crm"]
        one = airbyte.connections.get_connection(
            request=api.GetConnectionRequest(connection_id=found[7].connection_id)
        ).connection_response
        assert one == found[7]
        source = airbyte.sources.get_source(
            request=api.GetSourceRequest(source_id=one.source_id)
        ).source_response
        assert source.name == "c7" and source.source_type == "fake"
        destination = airbyte.destinations.get_destination(
            request=api.GetDestinationRequest(destination_id=one.destination_id)
        ).destination_response
        assert destination.destination_type == "s3"
        assert (
            len(airbyte.sources.list_sources(request=api.ListSourcesRequest(limit=50)).sources_response.data)
            == 45
        )
        assert airbyte.destinations.list_destinations(
            request=api.ListDestinationsRequest()
        ).destinations_response.data
        streams = airbyte.streams.get_stream_properties(
            request=api.GetStreamPropertiesRequest(source_id=one.source_id)
        ).stream_properties_response
        assert [stream.stream_name for stream in streams] == ["users", "orders"]
        (job,) = airbyte.jobs.list_jobs(request=api.ListJobsRequest()).jobs_response.data
        assert job.status == models.JobStatusEnum.SUCCEEDED and job.rows_synced == 3


def test_a_job_is_started_refused_cancelled_and_read_with_the_client(fake):
    syncs = fake.open({"mode": "hang"})
    with serving(syncs) as url:
        airbyte = client(url)
        wanted = models.JobCreateRequest(connection_id=only_id(syncs), job_type=models.JobTypeEnum.SYNC)
        started = airbyte.jobs.create_job(request=wanted).job_response
        assert started.status in (models.JobStatusEnum.PENDING, models.JobStatusEnum.RUNNING)
        with pytest.raises(errors.AirbyteAPIError, match="409|Conflict|is (pending|running)") as refused:
            airbyte.jobs.create_job(request=wanted)
        assert refused.value.status_code == 409
        cancelled = airbyte.jobs.cancel_job(request=api.CancelJobRequest(job_id=started.job_id)).job_response
        assert cancelled.status == models.JobStatusEnum.CANCELLED
        with pytest.raises(errors.AirbyteAPIError) as missing:
            airbyte.jobs.get_job(request=api.GetJobRequest(job_id=99))
        assert missing.value.status_code == 404


def test_a_connection_is_paused_and_resumed_with_the_client(fake):
    syncs = fake.open()
    with serving(syncs) as url:
        airbyte = client(url)

        def change(status: models.ConnectionStatusEnum) -> models.ConnectionResponse:
            return airbyte.connections.patch_connection(
                request=api.PatchConnectionRequest(
                    connection_id=only_id(syncs),
                    connection_patch_request=models.ConnectionPatchRequest(status=status),
                )
            ).connection_response

        assert change(models.ConnectionStatusEnum.INACTIVE).status == models.ConnectionStatusEnum.INACTIVE
        with pytest.raises(errors.AirbyteAPIError, match="not active"):
            airbyte.jobs.create_job(
                request=models.JobCreateRequest(
                    connection_id=only_id(syncs), job_type=models.JobTypeEnum.SYNC
                )
            )
        assert change(models.ConnectionStatusEnum.ACTIVE).status == models.ConnectionStatusEnum.ACTIVE
        assert run(syncs).status == "succeeded"


def test_each_way_to_log_in_lets_the_right_one_in_and_no_other(fake):
    login = Login("me", "hush", "app", "key")
    with serving(fake.open(), login=login) as url:
        right = [
            {"basic_auth": models.SchemeBasicAuth(username="me", password="hush")},
            {
                "client_credentials": models.SchemeClientCredentials(
                    client_id="app", client_secret="key", token_url=f"{url}/api/public/v1/applications/token"
                )
            },
        ]
        wrong = [
            {"basic_auth": models.SchemeBasicAuth(username="me", password="guess")},
            {"bearer_auth": "made up"},
            {},
        ]
        for security in right:
            airbyte = client(url, **security)
            assert airbyte.workspaces.list_workspaces(
                request=api.ListWorkspacesRequest()
            ).workspaces_response.data
        for security in wrong:
            airbyte = client(url, **security)
            with pytest.raises(errors.AirbyteAPIError) as refused:
                airbyte.workspaces.list_workspaces(request=api.ListWorkspacesRequest())
            assert refused.value.status_code == 401


def tickets(url: str, days: list[str]) -> set[tuple[str, int]]:
    """(day, id) of every ticket, straight from the API."""
    import requests

    found = set()
    for day in days:
        page, pages = 1, 1
        while page <= pages:
            answer = requests.get(
                f"{url}/v1/tickets",
                params={"date": day, "page": page, "per_page": 50},
                headers={"Authorization": "Bearer demo-token"},
                timeout=30,
            )
            if answer.ok:
                pages = answer.json()["pages"]
                found |= {(day, row["ticket_id"]) for row in answer.json()["data"]}
                page += 1
            else:
                time.sleep(0.2)
    return found


def finished(airbyte: AirbyteAPI, job_id: int) -> models.JobResponse:
    def look() -> models.JobResponse:
        return airbyte.jobs.get_job(request=api.GetJobRequest(job_id=job_id)).job_response

    until(lambda: look().status.value in FINISHED, 120)
    return look()


DAYS = ("2026-10-05", "2026-10-06", "2026-10-07", "2026-10-08")
PARQUET = models.DestinationS3(
    destination_type=models.DestinationS3S3.S3,
    s3_bucket_name="lake",
    s3_bucket_path="airbyte",
    s3_bucket_region=models.DestinationS3S3BucketRegion.US_EAST_1,
    **{"format": {"format_type": "Parquet", "compression_codec": "GZIP"}},
)


def define_tickets(airbyte: AirbyteAPI) -> tuple[str, str]:
    """(workspace, definition) of a low-code connector that the client has made."""
    (workspace,) = airbyte.workspaces.list_workspaces(
        request=api.ListWorkspacesRequest()
    ).workspaces_response.data
    definition = airbyte.declarative_source_definitions.create_declarative_source_definition(
        request=api.CreateDeclarativeSourceDefinitionRequest(
            workspace_id=workspace.workspace_id,
            create_declarative_source_definition_request=models.CreateDeclarativeSourceDefinitionRequest(
                name="tickets", manifest=yaml.safe_load(MANIFEST.read_text())
            ),
        )
    ).declarative_source_definition_response
    return workspace.workspace_id, definition.id


def make_source(server: Server, airbyte: AirbyteAPI, demo_api: str) -> tuple[str, str]:
    """(workspace, source) of a source over the demo's API, made of a definition and checked."""
    workspace, definition = define_tickets(airbyte)
    config = {
        "api_url": demo_api,
        "api_token": "demo-token",
        "start_date": "2026-10-05",
        "end_date": "2026-10-09",
    }
    body = {"name": "tickets", "workspaceId": workspace, "definitionId": definition, "configuration": config}
    source = server.call("POST", "/api/public/v1/sources", body)
    assert source["configuration"]["api_token"] == "**********"
    made = airbyte.sources.get_source(
        request=api.GetSourceRequest(source_id=source["sourceId"])
    ).source_response
    assert made.definition_id == definition
    checked = server.call("POST", "/api/v1/sources/check_connection", {"sourceId": source["sourceId"]})
    assert checked == {"status": "succeeded"}
    return workspace, source["sourceId"]


def connect(airbyte: AirbyteAPI, workspace: str, source: str) -> str:
    """A connection that syncs the source's tickets incrementally into Parquet."""
    destination = airbyte.destinations.create_destination(
        request=models.DestinationCreateRequest(name="parquet", workspace_id=workspace, configuration=PARQUET)
    ).destination_response
    (offered,) = airbyte.streams.get_stream_properties(
        request=api.GetStreamPropertiesRequest(source_id=source)
    ).stream_properties_response
    assert offered.source_defined_primary_key == [["ticket_id"]]
    stream = models.StreamConfiguration(
        name="tickets", sync_mode=models.ConnectionSyncModeEnum.INCREMENTAL_APPEND
    )
    return airbyte.connections.create_connection(
        request=models.ConnectionCreateRequest(
            source_id=source,
            destination_id=destination.destination_id,
            name="tickets",
            configurations=models.StreamConfigurations(streams=[stream]),
        )
    ).connection_response.connection_id


def sync(airbyte: AirbyteAPI, connection_id: str) -> models.JobResponse:
    wanted = models.JobCreateRequest(connection_id=connection_id, job_type=models.JobTypeEnum.SYNC)
    return finished(airbyte, airbyte.jobs.create_job(request=wanted).job_response.job_id)


@pytest.mark.servers
def test_a_low_code_source_is_defined_connected_and_synced_incrementally_through_the_api(tmp_path, demo_api):
    """Definition, source, destination and connection are made by the client, and outlive the server."""
    (tmp_path / "empty.yaml").write_text("name: empty\nconnections: []\n")
    arguments = ["--workspace", str(tmp_path / "empty.yaml")]
    with running(tmp_path, *arguments) as server:
        airbyte = client(server.url, bearer_auth=server.token())
        workspace, source = make_source(server, airbyte, demo_api)
        connection = connect(airbyte, workspace, source)
        job = sync(airbyte, connection)
        assert job.status == models.JobStatusEnum.SUCCEEDED, server.log.read_text()
        first = landed(server.landing / "tickets")
        assert {(str(row["date"]), row["ticket_id"]) for row in first} == tickets(demo_api, list(DAYS))
    # Another process: what was made is still there, and so is the state.
    with running(tmp_path, *arguments) as server:
        airbyte = client(server.url, bearer_auth=server.token())
        again = sync(airbyte, connection)
        assert again.status == models.JobStatusEnum.SUCCEEDED
        assert 0 <= again.rows_synced < len(first), (
            "it went on from its state, at the last day that it had read"
        )
        airbyte.connections.delete_connection(request=api.DeleteConnectionRequest(connection_id=connection))
        airbyte.sources.delete_source(request=api.DeleteSourceRequest(source_id=source))
        listed = airbyte.connections.list_connections(
            request=api.ListConnectionsRequest()
        ).connections_response
        assert listed.data == []


@pytest.mark.servers
def test_faker_is_made_with_the_clients_own_model_of_its_configuration(tmp_path):
    (tmp_path / "empty.yaml").write_text("name: empty\nconnections: []\n")
    with running(tmp_path, "--workspace", str(tmp_path / "empty.yaml")) as server:
        airbyte = client(server.url, bearer_auth=server.token())
        source = airbyte.sources.create_source(
            request=models.SourceCreateRequest(
                name="people",
                workspace_id=Workspace.read(tmp_path / "empty.yaml").id,
                configuration=models.SourceFaker(
                    source_type=models.Faker.FAKER, count=20, seed=7, parallelism=1
                ),
            )
        ).source_response
        assert source.source_type == "faker"
        with pytest.raises(errors.AirbyteAPIError) as refused:
            airbyte.sources.create_source(
                request={
                    "name": "wrong",
                    "workspaceId": source.workspace_id,
                    "configuration": {"sourceType": "faker", "count": 0},
                }
            )
        assert refused.value.status_code == 422 and "count" in str(refused.value.body)
