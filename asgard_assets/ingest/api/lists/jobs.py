"""The steps of an asynchronous job as pages of a walk: create, poll, one page a file. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgard_assets.ingest.api.http.decoding import Undecodable, read_json
from asgard_assets.ingest.api.lists.pagination import MalformedPage, Page
from asgard_assets.ingest.api.source.addresses import encoded
from asgard_assets.ingest.api.source.decoders import AsyncJob, Poll
from asgard_assets.ingest.api.source.paths import at

CREATE, POLL, DOWNLOAD, CLEAN_UP = "create", "poll", "download", "clean_up"
CONTROL = frozenset({CREATE, POLL, CLEAN_UP})
"""Steps whose answers say something about the job; they hold no items."""


class NotReady(Exception):
    """The job goes on. `state` is what the API calls it."""

    def __init__(self, state: Any):
        super().__init__(str(state))
        self.state = state


class JobFailed(MalformedPage):
    """The API says that there will be no result."""


def created(job: AsyncJob, page: Page, url: str, headers: Mapping[str, str], body: bytes) -> Page | None:
    """What comes after the answer that made the job. Raises MalformedPage."""
    value, id = _value(body), None
    if job.id is not None:
        id = headers.get(job.id[7:].lower()) if job.id.startswith("header:") else at(value, job.id)
        if id is None or isinstance(id, dict | list | bool):
            raise MalformedPage(f"form.job.id: there is no id at `{job.id}` of the answer")
    told = {"id": id}
    if job.poll is not None:
        return Page(page.number + 1, step=POLL, job=told)
    return _files(job, page, url, value, told)


def polled(job: AsyncJob, page: Page, url: str, status: int, body: bytes) -> Page | None:
    """What comes after a job that is ready. Raises NotReady, JobFailed or MalformedPage."""
    how, value = job.poll, _value(body)
    assert how is not None
    state = _state(how, status, value)
    if _among(state, how.failed):
        said = at(value, how.message) if how.message else None
        raise JobFailed(f"the job is `{state}`{'' if said is None else f': {said!s:.300}'}")
    if not _among(state, how.done):
        raise NotReady(state)
    return _files(job, page, url, value, dict(page.job))


def downloaded(page: Page) -> Page | None:
    """The file after this one."""
    files, index = page.job.get("files"), page.job.get("file", 0) + 1
    if not files or index >= len(files):
        return None
    return Page(page.number + 1, url=files[index], step=DOWNLOAD, job={**page.job, "file": index})


def _state(how: Poll, status: int, value: Any) -> Any:
    if status == 202:
        return "status 202"
    if how.status is None:
        return how.done[0]
    state = at(value, how.status)
    if state is None:
        raise MalformedPage(f"form.job.poll.status: there is nothing at `{how.status}` of the answer")
    return state


def _among(state: Any, states: tuple[Any, ...]) -> bool:
    return str(state).lower() in {str(one).lower() for one in states}


def _files(job: AsyncJob, page: Page, url: str, value: Any, told: dict[str, Any]) -> Page | None:
    from urllib.parse import urljoin

    path = job.download.urls
    if path is None:
        return Page(page.number + 1, step=DOWNLOAD, job=told)
    found = _all(value, path)
    if found is None:
        raise MalformedPage(f"form.job.download.urls: there is nothing at `{path}` of the answer")
    if odd := [one for one in found if not isinstance(one, str)]:
        raise MalformedPage(f"form.job.download.urls: {odd[0]!r:.100} at `{path}` is no address")
    files = [urljoin(url, encoded(one)) for one in found]
    if not files:
        return None
    return Page(page.number + 1, url=files[0], step=DOWNLOAD, job={**told, "files": files, "file": 0})


def _all(value: Any, path: str) -> list[Any] | None:
    """All values at a path; `[*]` stands for every element of a list."""
    before, star, rest = path.partition("[*]")
    found = at(value, before)
    if not star:
        return found if isinstance(found, list) else None if found is None else [found]
    if not isinstance(found, list):
        return None
    return [at(one, rest.removeprefix(".")) for one in found]


def _value(body: bytes) -> Any:
    if not body.strip():
        return {}
    try:
        return read_json(body.decode())
    except (Undecodable, UnicodeDecodeError) as error:
        raise MalformedPage(f"the answer about the job is no JSON: {error}") from error
