"""The one door to storage: a local folder or an S3 bucket's prefix, under one set of names.

Paths are relative to the root. What is put appears whole or not at all. Everything that leaves this process's own
hands (delta-rs, Arrow, DuckDB, Spark) is told here how to reach the same place with the same keys. Small objects go
through the system and boto3, not through Arrow: a process that holds sensors would keep 45 MB for it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from asgard_assets.lake.s3.client import asked, s3_client
from asgard_assets.lake.s3.credentials import Keys, credentials, patiently, renewed
from asgard_assets.roots import bucket_and_key, checked_root, is_remote

if TYPE_CHECKING:
    from pyarrow import fs as pafs

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """An object as a listing saw it, by its path below the root. `etag` is the store's; a local file has none."""

    path: str
    size: int
    modified: datetime
    etag: str = ""


@cache
def _local() -> pafs.FileSystem:
    from pyarrow import fs as pafs

    return pafs.LocalFileSystem()


@dataclass(frozen=True)
class Store:
    """Objects under one root: a local folder or `s3://bucket/prefix`."""

    root: str
    endpoint: str | None = None
    region: str = "us-east-1"

    called: ClassVar[tuple[str, ...]] = ("ASGARD_LAKE",)
    """The setting of the root and what is kept there, for messages."""

    def __post_init__(self) -> None:
        checked_root(self.root, *self.called)

    @property
    def remote(self) -> bool:
        return is_remote(self.root)

    def address(self, path: str) -> str:
        """The address of what lies at `path`, as every engine but Spark takes it."""
        return f"{self.root.rstrip('/')}/{path}"

    # Objects as bytes

    def names(self, folder: str) -> list[str]:
        """Names of the objects in a folder, in order; none where there is no such folder. Names with a dot in front
        are still being written."""
        if self.remote:
            bucket, key = self.bucket_and_key(f"{folder}/")
            pages = self.client.get_paginator("list_objects_v2")
            found = [
                each["Key"][len(key) :]
                for page in asked(lambda: list(pages.paginate(Bucket=bucket, Prefix=key, Delimiter="/")))
                for each in page.get("Contents", ())
            ]
        else:
            try:
                with os.scandir(self.address(folder)) as entries:
                    found = [entry.name for entry in entries if entry.is_file()]
            except FileNotFoundError:
                return []
        return sorted(name for name in found if name and not name.startswith("."))

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, in order; none where there is no such folder."""
        if self.remote:
            bucket, key = self.bucket_and_key(f"{folder}/" if folder else "")
            pages = self.client.get_paginator("list_objects_v2")
            return sorted(
                each["Prefix"][len(key) : -1]
                for page in asked(lambda: list(pages.paginate(Bucket=bucket, Prefix=key, Delimiter="/")))
                for each in page.get("CommonPrefixes", ())
            )
        try:
            with os.scandir(self.address(folder)) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return []

    def get(self, path: str, start: int = 0, size: int | None = None) -> bytes:
        """The object's bytes, from `start` on and `size` at most. Raises FileNotFoundError where it is not there."""
        if self.remote:
            bucket, key = self.bucket_and_key(path)
            part: dict[str, Any] = {}
            if start or size is not None:
                part["Range"] = f"bytes={start}-{'' if size is None else start + size - 1}"
            return asked(lambda: self.client.get_object(Bucket=bucket, Key=key, **part)["Body"].read())
        with open(self.address(path), "rb") as file:
            file.seek(start)
            return file.read(-1 if size is None else size)

    def put(self, path: str, content: bytes) -> None:
        """Write the object, whole or not at all; one that is there is replaced."""
        if self.remote:
            bucket, key = self.bucket_and_key(path)
            asked(lambda: self.client.put_object(Bucket=bucket, Key=key, Body=content))
            return
        os.replace(_draft(self.address(path), content), self.address(path))

    def put_new(self, path: str, content: bytes) -> bool:
        """Create the object whole, or return False because it exists. On S3 by a conditional put."""
        if self.remote:
            from botocore.exceptions import ClientError

            bucket, key = self.bucket_and_key(path)
            try:
                self.client.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                    return False
                raise
            return True
        draft = _draft(self.address(path), content)
        try:
            os.link(draft, self.address(path))
        except FileExistsError:
            return False
        finally:
            os.unlink(draft)
        return True

    def delete(self, path: str) -> None:
        """Delete the object; it may be gone already."""
        if self.remote:
            bucket, key = self.bucket_and_key(path)
            asked(lambda: self.client.delete_object(Bucket=bucket, Key=key))
            return
        try:
            os.unlink(self.address(path))
        except FileNotFoundError:
            return

    def copy(self, path: str, to: str, etag: str) -> bool:
        """Copy an object (S3 alone), in parts where it is big. False where it is gone or another one than `etag`."""
        from botocore.exceptions import ClientError

        bucket, key = self.bucket_and_key(path)
        source, condition = {"Bucket": bucket, "Key": key}, {"CopySourceIfMatch": etag}
        try:
            self.client.copy(source, *self.bucket_and_key(to), ExtraArgs=condition)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("PreconditionFailed", "412", "404", "NoSuchKey"):
                return False
            raise OSError(str(error)) from error
        return True

    def head(self, path: str) -> Found | None:
        """What the store says of the object (S3 alone); None where it is not there."""
        bucket, key = self.bucket_and_key(path)
        try:
            told = asked(lambda: self.client.head_object(Bucket=bucket, Key=key))
        except FileNotFoundError:
            return None
        return Found(path, told["ContentLength"], told["LastModified"], told["ETag"].strip('"'))

    def pages(self, prefix: str, after: str = "", folders: bool = False) -> Iterator[list[Found | str]]:
        """Objects under a prefix (S3 alone) in the order of their keys' bytes, from behind `after` on, page by page.

        With `folders` one level: what lies deeper is named by its folder, which ends with a slash.
        """
        bucket, base = self.bucket_and_key("")
        wanted: dict[str, Any] = {"Bucket": bucket, "Prefix": base + prefix}
        if after:
            wanted["StartAfter"] = base + after
        if folders:
            wanted["Delimiter"] = "/"
        pages = iter(self.client.get_paginator("list_objects_v2").paginate(**wanted))
        while (page := asked(lambda: next(pages, None))) is not None:
            inside: list[Found | str] = [
                Found(o["Key"][len(base) :], o["Size"], o["LastModified"], o["ETag"].strip('"'))
                for o in page.get("Contents", ())
                if not o["Key"].endswith("/")
            ]
            inside += [each["Prefix"][len(base) :] for each in page.get("CommonPrefixes", ())]
            yield sorted(inside, key=lambda each: each if isinstance(each, str) else each.path)

    # What engines are told

    @property
    def keys(self) -> Keys:
        """The keys of now. Raises ConfigError where there are none."""
        return credentials().keys()

    @property
    def storage_options(self) -> dict[str, str] | None:
        """delta-rs options, with the keys of now."""
        if not self.remote:
            return None
        keys = self.keys
        options = {
            "aws_region": self.region,
            "conditional_put": "etag",
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
        }
        if keys.token:
            options["aws_session_token"] = keys.token
        if self.endpoint:
            options |= {"aws_endpoint": self.endpoint, "aws_allow_http": "true"}
        return options

    @property
    def filesystem(self) -> pafs.FileSystem:
        """Arrow's view of the store. Its paths are addresses, local ones and others alike."""
        if not self.remote:
            return _local()
        from asgard_assets.lake.s3.filesystem import addressed

        return addressed(self.endpoint, self.region)

    def patiently(self, call: Callable[[], T]) -> T:
        """What `call` returns; called again, with new keys, where the store refused those of now."""
        return patiently(call) if self.remote else call()

    @property
    def handed_out(self) -> Keys | None:
        """The keys that an engine was told last; none for a local folder."""
        return credentials().handed_out if self.remote else None

    def renewed(self, error: BaseException, used: Keys | None) -> bool:
        """Whether `error` is the store's refusal of the keys that were used, and there may be others now."""
        return self.remote and renewed(error, used)

    @contextmanager
    def whole(self, address: str) -> Iterator[Any]:
        """A file to write that appears under `address` when the block ends, and not at all where it fails.

        Locally it is written beside its place, under a name with a dot in front, and renamed; on S3 it is put at once.
        """
        from pyarrow import OSFile

        if is_remote(address):
            from asgard_assets.lake.s3.filesystem import uploaded

            with uploaded(self.client, *bucket_and_key(address)) as file:
                yield file
            return
        folder, _, name = address.rpartition("/")
        os.makedirs(folder, exist_ok=True)
        draft = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}"
        try:
            with OSFile(draft, "wb") as file:
                yield file
            os.replace(draft, address)
        except BaseException:
            if os.path.exists(draft):
                os.unlink(draft)
            raise

    @property
    def client(self) -> Any:
        """boto3's client of this store, with the keys of now."""
        return s3_client(self.endpoint, self.region)

    def bucket_and_key(self, path: str = "") -> tuple[str, str]:
        """Bucket and key of what lies at `path` (S3 alone)."""
        return bucket_and_key(self.address(path))


def _draft(target: str, content: bytes) -> str:
    folder = os.path.dirname(target)
    os.makedirs(folder, exist_ok=True)
    draft = f"{folder}/.{uuid.uuid4().hex}"
    with open(draft, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft
