"""What the object store tells of new files: S3 event messages, from a queue or a folder that a webhook fills.

A message only says where to look. Whether a file is to be loaded is told by the manifest, and what a run loads by
its own listing of the day: so a message that comes twice loads nothing twice, and one that never comes is made up
for by the next full listing.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import unquote_plus

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing.area import File, Landing, hidden
from asgard_assets.ingest.files.source.models import FileSource, FromFolder
from asgard_assets.lake.s3.client import Patience, aws_client

UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What a message that is none makes of an attempt to read it. One that is not taken for such comes again for ever."""
_MOST = 10_000
_SECONDS = 3.0
_PATIENCE = Patience(connect_seconds=3, read_seconds=10, attempts=2)
"""A sensor's tick waits for its queue: where that is gone there is the listing."""


@dataclass(frozen=True)
class Notice:
    """A message: how to take it off the queue, and the files of this source that it names."""

    handle: str
    files: tuple[File, ...]


class Notices(Protocol):
    """Where messages wait."""

    def receive(self, most: int, seconds: float) -> Iterator[tuple[str, str]]:
        """Handle and body of messages, until there is none for now. Raises SourceError where it cannot be read."""
        ...

    def remove(self, handles: Sequence[str]) -> None:
        """Take messages off; others are received again some time later."""
        ...


def notices_of(landing: Landing, source: FileSource) -> Notices | None:
    if source.notify is None:
        return None
    if isinstance(source.notify, FromFolder):
        return _Folder(landing, source.notify.path)
    return _Queue(source.notify.queue_url, source.notify.region or landing.region)


def read_notices(
    landing: Landing, source: FileSource, notices: Notices, most: int = _MOST, seconds: float = _SECONDS
) -> tuple[list[Notice], int]:
    """Messages that wait, for so long at most, and how many of them are none that anybody can read."""
    found, unread = list[Notice](), 0
    for handle, body in notices.receive(most, seconds):
        try:
            files = tuple(files_named(landing, source, json.loads(body)))
        except UNREADABLE:
            files, unread = (), unread + 1
        found.append(Notice(handle, files))
    return found, unread


def files_named(landing: Landing, source: FileSource, told: Any) -> Iterator[File]:
    """Files that a message says were written: S3's own format, also as MinIO and versitygw write it, wrapped by SNS,
    or EventBridge's. Removals, test messages and other folders name none."""
    if isinstance(told, dict) and "Message" in told and "TopicArn" in told:
        told = json.loads(told["Message"])
    if told.get("Event") == "s3:TestEvent":
        return
    if "detail" in told:
        records = [_event_bridge(told)]
    else:
        records = told["Records"]
    for record in records:
        file = _file(landing, record)
        if file is None or not file.path.startswith(f"{source.path}/") or file.path.endswith("/"):
            continue
        if not hidden(file.path[len(source.path) + 1 :]):
            yield file


def _event_bridge(told: Any) -> Any:
    """EventBridge's message as S3 writes it; its key is not encoded."""
    from urllib.parse import quote_plus

    detail, names = told["detail"], {"Object Created": "ObjectCreated:Put"}
    about = detail["object"] | {
        "key": quote_plus(detail["object"]["key"]),
        "eTag": detail["object"].get("etag"),
    }
    return {
        "eventName": names.get(told["detail-type"], told["detail-type"]),
        "eventTime": told["time"],
        "s3": {"bucket": detail["bucket"], "object": about},
    }


def _file(landing: Landing, record: Any) -> File | None:
    if "ObjectCreated" not in record["eventName"]:
        return None
    bucket, base = landing.bucket_and_key() if landing.remote else ("", "")
    about = record["s3"]["object"]
    key = _key(about["key"])
    if (landing.remote and record["s3"]["bucket"]["name"] != bucket) or not key.startswith(base):
        return None
    path = key[len(base) :]
    if not landing.remote:
        return landing.look(path)  # a store's etag says nothing of a local file
    moment = datetime.fromisoformat(record["eventTime"])
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    etag = (about.get("eTag") or "").strip('"')
    return File(path, int(about.get("size") or 0), int(moment.timestamp() * 1e6), etag)


def _key(told: str) -> str:
    """The key of an event, which S3 and MinIO encode as a form does; versitygw writes it as it is."""
    return told if re.search(r"[^A-Za-z0-9._*/%+~!'()-]", told) else unquote_plus(told)


class _Queue:
    """SQS. A message that is not removed is shown again after the queue's visibility time-out."""

    def __init__(self, url: str, region: str) -> None:
        self._url = url
        # AWS's endpoint is the address's beginning, as is that of any other server.
        self._client = aws_client("sqs", "/".join(url.split("/")[:3]), region, _PATIENCE)

    def receive(self, most: int, seconds: float) -> Iterator[tuple[str, str]]:
        end, count = time.monotonic() + seconds, 0
        while count < most and time.monotonic() < end:
            found = _asked(
                self._url,
                lambda: self._client.receive_message(
                    QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=1
                ),
            )
            messages = found.get("Messages", ())
            if not messages:
                return
            count += len(messages)
            yield from ((message["ReceiptHandle"], message["Body"]) for message in messages)

    def remove(self, handles: Sequence[str]) -> None:
        for start in range(0, len(handles), 10):
            entries = [
                {"Id": str(n), "ReceiptHandle": handle}
                for n, handle in enumerate(handles[start : start + 10])
            ]
            _asked(
                self._url, lambda e=entries: self._client.delete_message_batch(QueueUrl=self._url, Entries=e)
            )


def _asked(url: str, ask: Callable[[], Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return ask()
    except (BotoCoreError, ClientError) as error:
        raise SourceError(f"the queue {url} cannot be read: {error}", source=url) from error


class _Folder:
    """Messages as files; names that begin with a dot are still being written."""

    def __init__(self, landing: Landing, path: str) -> None:
        self._landing, self._path = landing, path

    def receive(self, most: int, seconds: float) -> Iterator[tuple[str, str]]:
        end = time.monotonic() + seconds
        self._landing.refuse_outside(self._path)
        try:
            for name in self._landing.names(self._path)[:most]:
                if time.monotonic() > end:
                    return
                path = f"{self._path}/{name}"
                try:
                    self._landing.refuse_outside(path)
                except SourceError:
                    yield path, ""  # no message: it is taken off unread
                    continue
                yield path, self._landing.get(path).decode("utf-8", "replace")
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read: {error}", source=self._path) from error

    def remove(self, handles: Sequence[str]) -> None:
        self._landing.refuse_outside(self._path)
        for path in handles:
            self._landing.delete(path)
