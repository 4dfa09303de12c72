"""Airbyte's two APIs as a run needs them: start or adopt a sync, follow it through outages, cancel it.

dagster-airbyte's client does the talking; what is different here is what a failed request means. A refusal is
final and says why, an outage is waited out, and a sync that somebody else has started is followed.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import requests
from dagster_airbyte import AirbyteWorkspace
from dagster_airbyte.resources import (
    AIRBYTE_CLOUD_CONFIGURATION_API_BASE_URL,
    AIRBYTE_CLOUD_REST_API_BASE_URL,
    AirbyteClient,
)
from pydantic import Field

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.source.secrets import aws_secrets, resolve
from asgard_assets.resources.production import read_aws_secret
from asgard_assets.settings import LOCAL_AIRBYTE_USER, Settings

CLOUD_UI = "https://cloud.airbyte.com"
ACTIVE = ("pending", "queued", "running", "incomplete")
"""Of a job that has not ended."""
_AGAIN = (408, 425, 429, 500, 502, 503, 504)


def without_login(text: str) -> str:
    """The text without the logins that addresses in it carry."""
    return re.sub(r"://[^/@\s]*@", "://", text)


class Refused(dg.Failure):
    """Airbyte understood the request and will not do it. `status` is its HTTP status."""

    def __init__(self, description: str, status: int) -> None:
        super().__init__(description, allow_retries=False)
        self.status = status


class Unreachable(dg.Failure):
    """Airbyte does not answer, or answers that it cannot just now."""


class Client(AirbyteClient):
    """dagster-airbyte's client, with a sync that outlives an outage of the server."""

    patience_seconds: float = Field(
        default=600, description="How long a running sync is followed while Airbyte does not answer."
    )
    ui_url: str = Field(default="", description="Address of Airbyte's UI, for links.")
    token_file: Path | None = Field(
        default=None,
        description="File in which the local development server keeps its token. The token changes at each start.",
    )

    def get_attempt(self, job_id: int) -> Mapping[str, Any]:
        """The job's last attempt, with figures by stream, failures and log. Raises dg.Failure without it."""
        url = f"{self.configuration_api_base_url}/jobs/get"
        info = self._single_request("POST", url, data={"id": job_id})
        last = (info.get("attempts") or [{}])[-1]
        logs = last.get("logs") or {}
        events = [str(event.get("message", "")) for event in logs.get("events") or []]
        return {**(last.get("attempt") or {}), "logLines": logs.get("logLines") or events}

    def ask(self, method: str, path: str, data: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """What the public API answers. Raises Refused or Unreachable."""
        return self._single_request(method, f"{self.rest_api_base_url}{path}", data)

    def pages(self, path: str, **params: str) -> list[Mapping[str, Any]]:
        """All items of a list of the public API."""
        return list(self._paginated_request("GET", f"{self.rest_api_base_url}{path}", params))

    def job_url(self, connection_id: str, job_id: int) -> str:
        """The page of a job in Airbyte's own UI."""
        place = f"{without_login(self.ui_url)}/workspaces/{self.workspace_id}/connections/{connection_id}"
        return f"{place}/timeline?jobId={job_id}&openLogs=true"

    def active_jobs(self, connection_id: str) -> list[Mapping[str, Any]]:
        """Jobs of the connection that have not ended, however old."""
        url, found = f"{self.rest_api_base_url}/jobs", {}
        for status in ACTIVE:
            params = {"workspaceIds": self.workspace_id, "connectionId": connection_id, "status": status}
            try:
                jobs = self._paginated_request("GET", url, params)
            except Refused as refused:
                if status == "queued" and refused.status in (400, 422):
                    continue  # an older server, which knows no queue
                raise
            # Older servers ignore the filter.
            found |= {job["jobId"]: job for job in jobs if job["status"] in ACTIVE}
        return [found[job_id] for job_id in sorted(found)]

    def _newest(self, connection_id: str) -> Mapping[str, Any] | None:
        """The connection's last sync, ended or not; None where there is none, or the server does not say which it is."""
        url = f"{self.rest_api_base_url}/jobs"
        asked = {"connectionId": connection_id, "jobType": "sync", "orderBy": "createdAt|DESC", "limit": 10}
        try:
            jobs = self._single_request("GET", url, params=asked).get("data") or []
        except Refused as refused:
            if refused.status in (400, 422):
                return None  # an older server, which knows no order
            raise
        syncs = [job for job in jobs if job.get("jobType", "sync") == "sync"]
        return max(syncs, key=lambda job: job["jobId"], default=None)

    def sync(self, connection_id: str) -> Mapping[str, Any]:
        """Start a sync, or adopt the one that runs, and return the job's details once it has succeeded.

        Raises dg.Failure where it fails or is cancelled. Whatever else ends this call (the run is cancelled,
        the time is over) cancels the job, unless `cancel_on_termination` is off.
        """
        job = self._start_or_adopt(connection_id)
        job_id = int(job["jobId"])
        try:
            return self._follow(job_id)
        except JobEnded:
            raise
        except BaseException:
            if self.cancel_on_termination:
                try:
                    self.cancel_job(job_id)
                except dg.Failure as failure:
                    self._log.error(f"Airbyte job {job_id} could not be cancelled: {failure.description}")
            raise

    def _start_or_adopt(self, connection_id: str) -> Mapping[str, Any]:
        if running := self.active_jobs(connection_id):  # with no server, this fails at once
            return self._adopt(connection_id, running)
        deadline, newest = time.monotonic() + self.patience_seconds, self._newest(connection_id)
        while True:
            try:
                started = self.start_sync_job(connection_id)
                self._log.info(f"Airbyte job {started['jobId']} started")
                return started
            except (Refused, Unreachable) as failure:
                # 409: somebody started one in between. No answer: the request may have been heard all the same.
                conflict = isinstance(failure, Unreachable) or failure.status == 409
                if not conflict or time.monotonic() > deadline:
                    raise
            time.sleep(self.poll_interval)
            try:
                if running := self.active_jobs(connection_id):
                    return self._adopt(connection_id, running)
                ended = self._newest(connection_id)
                if ended and ended["jobId"] > (newest["jobId"] if newest else 0):
                    return self._adopt(connection_id, [ended])  # a short one, over before we looked
            except Unreachable:
                if time.monotonic() > deadline:
                    raise

    def _adopt(self, connection_id: str, running: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        job = running[-1]
        if not self.poll_previous_running_sync:
            raise dg.Failure(
                f"Airbyte job {job['jobId']} of this connection is {job['status']} already, and "
                "poll_previous_running_sync is off"
            )
        if job.get("jobType", "sync") != "sync":
            self._log.info(f"waiting for Airbyte job {job['jobId']}, a {job['jobType']}, before the sync")
            self._follow(int(job["jobId"]))
            return self._start_or_adopt(connection_id)
        self._log.info(f"Airbyte job {job['jobId']} is {job['status']} already: following it")
        return job

    def _follow(self, job_id: int) -> Mapping[str, Any]:
        began = heard = time.monotonic()
        while True:
            if self.poll_timeout and time.monotonic() - began > self.poll_timeout:
                raise dg.Failure(
                    f"Airbyte job {job_id} is not ready after the timeout of {self.poll_timeout:g} s"
                )
            time.sleep(self.poll_interval)
            try:
                details = self.get_job_details(job_id)
            except Unreachable as failure:
                silence = time.monotonic() - heard
                if silence > self.patience_seconds:
                    raise dg.Failure(
                        f"{failure.description} It has been silent for {silence:.0f} s."
                    ) from failure
                self._log.warning(f"{failure.description} Still following job {job_id}.")
                continue
            heard = time.monotonic()
            status = details["status"]
            if status == "succeeded":
                return details
            if status not in ACTIVE:
                raise JobEnded(f"Airbyte job {job_id} {status}", details)

    def _get_session(self, include_additional_request_headers: bool) -> requests.Session:
        session = super()._get_session(include_additional_request_headers)
        if self.token_file:
            with suppress(FileNotFoundError):  # no local server runs: the address is another Airbyte's
                session.auth = (LOCAL_AIRBYTE_USER, self.token_file.read_text())
        return session

    def _single_request(
        self,
        method: str,
        url: str,
        data: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        include_additional_request_headers: bool = True,
    ) -> Mapping[str, Any]:
        """One request, tried again where that can help. Raises Refused or Unreachable, which say why.

        A sync is asked for once: the server may have started it though its answer was lost.
        """
        problem, renewed, turn = "", False, 0
        turns = 1 if method == "POST" and url.endswith("/jobs") else self.request_max_retries + 1
        while turn < turns:
            if turn:
                time.sleep(self.request_retry_delay)
            turn += 1
            try:
                session = self._get_session(include_additional_request_headers)
                response = session.request(
                    method, url, json=data, params=params, timeout=self.request_timeout
                )
            except requests.RequestException as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if (
                response.status_code == 401
                and (self.client_id or self.token_file)
                and include_additional_request_headers
                and not renewed
            ):
                # A restarted server may have forgotten the token that it gave, or made a new one.
                self._access_token_value, renewed = None, True
                turns += 1
                continue
            if response.status_code in _AGAIN:
                problem = f"it answered {response.status_code}: {_said(response)}"
                continue
            if not response.ok:
                raise Refused(
                    without_login(
                        f"Airbyte refused {method} {url} ({response.status_code}): {_said(response)}"
                    ),
                    response.status_code,
                )
            return response.json() if response.content else {}
        raise Unreachable(
            without_login(
                f"Airbyte at {self.rest_api_base_url} does not answer {method} {url} ({problem}): is it running, and "
                "does ASGARD_AIRBYTE_URL name it?"
            )
        )


class JobEnded(dg.Failure):
    """The job ended in another way than by success. `details` are Airbyte's."""

    def __init__(self, description: str, details: Mapping[str, Any]) -> None:
        super().__init__(description)
        self.details = details


class Workspace(AirbyteWorkspace):
    """An Airbyte workspace: self-managed, at the address in setting ASGARD_AIRBYTE_URL, or in Airbyte Cloud.

    Secrets are references `env:NAME` or `file:/path`, read when a client is made.
    """

    cloud: bool = Field(default=False, description="Whether the workspace is in Airbyte Cloud.")
    rest_api_base_url: str = Field(
        default="", description="Address of Airbyte's API. Default: that of ASGARD_AIRBYTE_URL."
    )
    configuration_api_base_url: str = Field(
        default="", description="Address of Airbyte's configuration API. Default: that of ASGARD_AIRBYTE_URL."
    )
    patience_seconds: float = Field(
        default=600, description="How long a running sync is followed while Airbyte does not answer."
    )

    def get_client(self) -> Client:
        url = Settings().airbyte_url.rstrip("/")
        public, config, ui = f"{url}/api/public/v1", f"{url}/api/v1", url
        if self.cloud:
            public, config = AIRBYTE_CLOUD_REST_API_BASE_URL, AIRBYTE_CLOUD_CONFIGURATION_API_BASE_URL
            ui = CLOUD_UI
        elif self.rest_api_base_url:
            ui = self.rest_api_base_url.removesuffix("/api/public/v1")
        given = {name: getattr(self, name) for name in Client.model_fields if hasattr(self, name)}
        given["rest_api_base_url"] = self.rest_api_base_url or public
        given["configuration_api_base_url"] = self.configuration_api_base_url or config
        given["ui_url"] = ui
        if not (self.cloud or self.client_id or self.username):
            files = {
                Settings().local_airbyte_token(given[f"{api}_api_base_url"])
                for api in ("rest", "configuration")
            }
            given["token_file"] = files.pop() if len(files) == 1 else None
        for name in ("client_id", "client_secret", "username", "password"):
            given[name] = _secret(name, given[name])
        with beta_accepted():
            return Client(**given)


@contextmanager
def beta_accepted() -> Iterator[None]:
    """dagster-airbyte's classes warn that they are beta at every use; one exact version is locked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        yield


def _said(response: requests.Response) -> str:
    """What the answer says in words."""
    try:
        body = response.json()
    except ValueError:
        return response.text[:300] or response.reason
    if isinstance(body, dict):
        return str(body.get("detail") or body.get("message") or body.get("title") or body)[:300]
    return str(body)[:300]


def _secret(name: str, reference: str | None) -> str | None:
    if reference is None:
        return None
    kind, _, place = reference.partition(":")
    if kind == "env" and place in os.environ:
        return os.environ[place]
    if kind == "file":
        try:
            return Path(place).read_text().strip()
        except OSError as error:
            raise ConfigError(
                f"airbyte workspace: {name} cannot be read from {place} ({error.strerror})"
            ) from error
    if kind in ("aws-secret", "vault"):
        with aws_secrets(read_aws_secret):
            return resolve(reference, "airbyte workspace").value
    shown = (
        f"environment variable {place} is not set"
        if kind == "env"
        else "it is no reference env:NAME, file:/path, aws-secret:NAME#KEY or vault:PATH#KEY"
    )
    raise ConfigError(f"airbyte workspace: {name} cannot be read: {shown}")
