"""Small objects under a root, local or on S3: plans, manifests, decisions of people, messages.

Through the system and boto3, not through Arrow: a process that holds sensors would keep 45 MB for it.
"""

from __future__ import annotations

import os
import uuid
from typing import Any, Protocol

from asgard_assets.ingest.files.landing.area import s3_client


class Root(Protocol):
    """A lake or a landing area; paths are relative to its root."""

    @property
    def root(self) -> str: ...
    @property
    def endpoint(self) -> str | None: ...
    @property
    def region(self) -> str: ...
    @property
    def remote(self) -> bool: ...


def names(where: Root, folder: str) -> list[str]:
    """Names of the objects in a folder, in order; none where there is no such folder. Names with a dot in front are
    still being written."""
    if where.remote:
        bucket, key = _address(where, f"{folder}/")
        pages = _client(where).get_paginator("list_objects_v2")
        found = [
            each["Key"][len(key) :]
            for page in _asked(lambda: list(pages.paginate(Bucket=bucket, Prefix=key, Delimiter="/")))
            for each in page.get("Contents", ())
        ]
    else:
        try:
            with os.scandir(f"{where.root}/{folder}") as entries:
                found = [entry.name for entry in entries if entry.is_file()]
        except FileNotFoundError:
            return []
    return sorted(name for name in found if name and not name.startswith("."))


def read(where: Root, path: str, start: int = 0, size: int | None = None) -> bytes:
    """The object's bytes, from `start` on and `size` at most. Raises FileNotFoundError where it is not there."""
    if where.remote:
        bucket, key = _address(where, path)
        part: dict[str, Any] = {}
        if start or size is not None:
            part["Range"] = f"bytes={start}-{'' if size is None else start + size - 1}"
        return _asked(lambda: _client(where).get_object(Bucket=bucket, Key=key, **part)["Body"].read())
    with open(f"{where.root}/{path}", "rb") as file:
        file.seek(start)
        return file.read(-1 if size is None else size)


def write(where: Root, path: str, content: bytes) -> None:
    """Write the object, whole or not at all; one that is there is replaced."""
    if where.remote:
        bucket, key = _address(where, path)
        _asked(lambda: _client(where).put_object(Bucket=bucket, Key=key, Body=content))
        return
    os.replace(_draft(where, path, content), f"{where.root}/{path}")


def write_once(where: Root, path: str, content: bytes) -> bool:
    """Create the object whole, or return False because it exists. On S3 by a conditional put."""
    if where.remote:
        from botocore.exceptions import ClientError

        bucket, key = _address(where, path)
        try:
            _client(where).put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                return False
            raise
        return True
    draft = _draft(where, path, content)
    try:
        os.link(draft, f"{where.root}/{path}")
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    return True


def remove(where: Root, path: str) -> None:
    """Delete the object; it may be gone already."""
    if where.remote:
        bucket, key = _address(where, path)
        _asked(lambda: _client(where).delete_object(Bucket=bucket, Key=key))
        return
    try:
        os.unlink(f"{where.root}/{path}")
    except FileNotFoundError:
        return


def _draft(where: Root, path: str, content: bytes) -> str:
    folder = os.path.dirname(f"{where.root}/{path}")
    os.makedirs(folder, exist_ok=True)
    draft = f"{folder}/.{uuid.uuid4().hex}"
    with open(draft, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _address(where: Root, path: str) -> tuple[str, str]:
    bucket, _, base = where.root.removeprefix("s3://").rstrip("/").partition("/")
    return bucket, f"{base}/{path}" if base else path


def _client(where: Root) -> Any:
    return s3_client(where.endpoint, where.region)


def _asked(ask: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return ask()
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            raise FileNotFoundError(str(error)) from error
        raise OSError(str(error)) from error
    except BotoCoreError as error:
        raise OSError(str(error)) from error
