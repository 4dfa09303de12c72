"""`/transform`, also as `/spark/transform` and `/transformation`: SQL that becomes a table of the lake."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field, TypeAdapter

from asgard_assets.gateway.accounts.callers import Editor, Reader
from asgard_assets.gateway.bodies import NewTransform
from asgard_assets.gateway.platform import Here, Platform
from asgard_assets.operations.transforms.follow import Event, Figures, Runs, RunStatus
from asgard_assets.operations.transforms.submit import Wanted, submit

router = APIRouter()
PREFIXES = {"/transform": "Transforms", "/spark/transform": "Spark", "/transformation": "Transformation"}
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="Sent again with the same key, a request starts nothing new.",
    ),
]
State = Literal["SUBMITTED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]


_STATUS = TypeAdapter(RunStatus)


class Submitted(BaseModel):
    run_id: str = Field(description="Id of the run, for status, logs, events and metrics.")
    status: Literal["submitted"] = Field(description="The run is queued.")
    spark_application: str = Field(description="Name of the Spark job.")
    output_table: str = Field(description="The table that it makes, as stage.table.")
    revision: int = Field(description="Number of the table's definition.")
    write_mode: str = Field(description="overwrite or append.")


class Jobs(BaseModel):
    jobs: list[RunStatus] = Field(description="The runs, the newest first.")
    total: int = Field(description="How many are listed.")


class Logs(BaseModel):
    run_id: str = Field(description="Id of the run.")
    logs: str = Field(description="The log's lines.")
    printed: str = Field(description="What the run's process printed, its last lines.")
    next_cursor: str = Field(description="Send it as ?cursor= to go on.")


class Events(BaseModel):
    run_id: str = Field(description="Id of the run.")
    events: list[Event] = Field(description="What happened, in order.")
    next_cursor: str = Field(description="Send it as ?cursor= to go on.")


@router.post("", status_code=202)
def submit_transform(
    body: NewTransform, here: Here, caller: Editor, idempotency_key: Key = None
) -> Submitted:
    """Check the SQL, keep it as the table's definition, and queue a run."""
    wanted = Wanted(
        body.sql,
        body.write_mode,
        body.output_table,
        caller.enter(body.workspace_name),
        body.source_path,
        body.size,
        caller.name,
        idempotency_key or "",
    )
    return submitted(here, wanted)


def submitted(here: Platform, wanted: Wanted) -> Submitted:
    """Queue a run of it, and say which."""
    streams = here.databases.streams(wanted.workspace)
    made = submit(wanted, here.lake, here.airbyte, here.submissions, databases=streams)
    here.queue.wake()
    return Submitted(
        run_id=made.run_id,
        status="submitted",
        spark_application=made.name,
        output_table=made.table.replace("/", "."),
        revision=made.revision,
        write_mode=wanted.write_mode,
    )


@router.get("/jobs")
def list_jobs(
    here: Here,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.")] = 20,
    status_filter: Annotated[State | None, Query(description="Only those in this state.")] = None,
) -> Jobs:
    """The runs, the newest first: those in the state that is asked for, then at most `limit`."""
    found = here.runs.jobs(limit, status_filter or "", caller.sees)
    return Jobs(jobs=found, total=len(found))


@router.get("/{run_id}/status", response_model=RunStatus)
async def run_status(run_id: str, here: Here, caller: Reader) -> Response:
    """How a run stands."""
    found = here.runs.known(run_id, caller.sees)  # it is asked for very often: what has ended needs no thread
    if found is None:
        found = await run_in_threadpool(here.runs.status, run_id, caller.sees)
    return Response(_STATUS.dump_json(found), media_type="application/json")


@router.get("/{run_id}/logs", response_model=Logs, responses={200: {"content": {"text/event-stream": {}}}})
async def run_logs(
    run_id: str, here: Here, caller: Reader, request: Request,
    cursor: Annotated[str, Query(max_length=500, description="Where an earlier page ended.")] = "",
    follow: Annotated[bool, Query(description="Stream the lines as they come (server-sent events).")] = False,
) -> Response:  # fmt: skip
    """A run's log: as JSON, or as server-sent events until the run has ended (`Accept: text/event-stream`)."""
    await run_in_threadpool(here.runs.status, run_id, caller.sees)  # 404 before a stream begins
    if follow or "text/event-stream" in request.headers.get("accept", ""):
        return StreamingResponse(_stream(here.runs, run_id, cursor), media_type="text/event-stream")
    return JSONResponse((await run_in_threadpool(logs_of, here, run_id, cursor)).model_dump())


@router.get("/{run_id}/events")
def run_events(
    run_id: str, here: Here, caller: Reader,
    cursor: Annotated[str, Query(max_length=500, description="Where an earlier page ended.")] = "",
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.")] = 1000,
) -> Events:  # fmt: skip
    """What happened in a run, in order."""
    here.runs.status(run_id, caller.sees)
    page = here.runs.events(run_id, cursor, limit)
    return Events(run_id=run_id, events=list(page.events), next_cursor=page.cursor)


@router.get("/{run_id}/metrics")
def run_metrics(run_id: str, here: Here, caller: Reader) -> Figures:
    """What a run has used: time, CPU, memory; and how many rows it has made."""
    here.runs.status(run_id, caller.sees)
    return here.runs.figures(run_id)


def logs_of(here: Platform, run_id: str, cursor: str) -> Logs:
    """A page of a run's log."""
    page = here.runs.events(run_id, cursor)
    lines = "\n".join(event.line for event in page.events)
    return Logs(
        run_id=run_id, logs=lines, printed="\n".join(here.runs.printed(run_id)), next_cursor=page.cursor
    )


async def _stream(runs: Runs, run_id: str, cursor: str, seconds: float = 0.5) -> AsyncIterator[str]:
    """Events as they come, until the run has ended."""
    while True:
        status = await run_in_threadpool(runs.status, run_id)
        page = await run_in_threadpool(runs.events, run_id, cursor)
        cursor = page.cursor
        for event in page.events:
            yield f"id: {cursor}\ndata: {json.dumps(event.line)}\n\n"
        if page.more:
            continue
        if status.ended:
            yield f"event: end\ndata: {json.dumps(status.state)}\n\n"
            return
        yield ": waiting\n\n"
        await asyncio.sleep(seconds)
