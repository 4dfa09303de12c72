"""How a list's body is written, and how the API makes it first: the `decode` and `job` sections of a pull form."""

from __future__ import annotations

import codecs
from typing import Literal

from pydantic import Field, JsonValue, field_validator

from asgard_assets.ingest.api.source.parameters import ParameterText, QueryText, TemplateBody, TemplateText
from asgard_assets.quality.tables import Model

Format = Literal["auto", "json", "ndjson", "csv", "xml"]


class Decode(Model):
    """How a body is read. Compression (gzip, zip, tar) is detected from the bytes."""

    format: Format = Field(
        default="auto",
        description="auto: by Content-Type, else by the first byte. ndjson: one JSON value a line.",
    )
    charset: str | None = Field(
        default=None, description="How bytes become text; default: what the answer says, else UTF-8."
    )
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="Character between the fields of a CSV. Default: detected.",
    )
    header: bool = Field(
        default=True,
        description="Whether the first line of a CSV names its columns. Otherwise they are called c1, c2 "
        "and so on.",
    )
    stream: bool = Field(
        default=False,
        description="A body of any size: it goes to a file of the worker while it arrives, and is read piece by piece. "
        "For JSON, NDJSON, CSV and XML (gzip, zip or tar too), without pages or as a job's files.",
    )
    member: str | None = Field(
        default=None,
        description="Which files of a zip or tar to read, such as `*.json`; default: all. Their items are "
        "one list.",
    )

    @field_validator("charset")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                codecs.lookup(name)
            except LookupError:
                raise ValueError(f"unknown charset {name!r}; write it as utf-8, latin-1, cp1252 …") from None
        return name


# Jobs ------------------------------------------------------------------------------------------------------


class Step(Model):
    """One request of a job; `{job.id}` is the job's id. What is not said is not sent."""

    method: str = Field(
        default="GET", pattern="^(GET|POST|PUT|PATCH|DELETE)$", description="HTTP method of this request."
    )
    path: TemplateText = Field(
        default="", description="Appended to endpoint.base_url, such as `/exports/{job.id}`."
    )
    query: dict[str, QueryText] = Field(default_factory=dict, description="Query parameters of this request.")
    headers: dict[str, ParameterText] = Field(
        default_factory=dict, description="Headers of this request, without secrets."
    )
    body: TemplateBody = Field(default=None, description="JSON body of this request.")


class Poll(Step):
    """How to find out whether the result is ready."""

    status: str | None = Field(
        default=None,
        description="Path of the job's state in the answer. Without it, 202 means not ready and 200 ready.",
    )
    done: tuple[JsonValue, ...] = Field(
        default=("done", "completed", "complete", "finished", "succeeded", "success", "ready", True),
        description="States that mean: the job is ready. Upper and lower case are the same.",
    )
    failed: tuple[JsonValue, ...] = Field(
        default=("failed", "failure", "error", "cancelled", "canceled", "aborted", "expired", "rejected"),
        description="States that mean: the job failed. Any other state means: ask again later.",
    )
    message: str | None = Field(default=None, description="Path of what the API says about a failed job.")
    every_seconds: float = Field(
        default=2,
        ge=0,
        description="Seconds before the job is asked again, unless Retry-After says it. The wait grows by "
        "half each time.",
    )
    max_seconds: float = Field(
        default=60, ge=0, description="Longest wait between two questions about a job."
    )
    deadline_seconds: float = Field(
        default=3600,
        gt=0,
        description="A job that takes longer is a failure; the next run asks for it again.",
    )


class Download(Step):
    """Where the result is."""

    urls: str | None = Field(
        default=None,
        description="Path of the file's address in the answer before, or of a list of addresses, such as "
        "`files[*].url`. Without it, `path` is asked for.",
    )


class AsyncJob(Model):
    """`endpoint` makes the job; its result is what is read."""

    id: str | None = Field(
        default=None,
        description="Path of the job's id in the answer, or `header:NAME`; templates know it as `{job.id}`.",
    )
    poll: Poll | None = Field(
        default=None, description="How to ask whether the job is ready. Without it, the job is ready at once."
    )
    download: Download = Field(default=Download(), description="Where the result of the job is.")
    clean_up: Step | None = Field(
        default=None,
        description="Request that is sent when everything was read, such as a DELETE. If it fails, the "
        "run notes that.",
    )

    @property
    def steps(self) -> dict[str, Step]:
        found = {"poll": self.poll, "download": self.download, "clean_up": self.clean_up}
        return {name: step for name, step in found.items() if step is not None}
