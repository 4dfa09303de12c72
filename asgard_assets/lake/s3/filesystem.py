"""Arrow's filesystem for S3, with addresses for paths and keys that are always fresh.

Arrow's own S3 filesystem does the reading and writing; this one hands it the keys of now, and asks once more with
new ones where the store refuses. Arrow's output streams make a file visible also where its writer failed, and forget
what they held when a key is refused: so a file is kept aside until it is complete, and put at once.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from pyarrow import PythonFile
from pyarrow import fs as pafs

from asgard_assets.lake.s3.client import asked, s3_client
from asgard_assets.lake.s3.credentials import Keys, credentials, patiently
from asgard_assets.roots import address_of, bucket_and_key

_IN_MEMORY_BYTES = 8 << 20


def addressed(endpoint: str | None, region: str) -> pafs.FileSystem:
    """The filesystem of one S3 endpoint. Paths are addresses, `s3://bucket/key`."""
    return pafs.PyFileSystem(_Addressed(endpoint, region))


@lru_cache(maxsize=8)
def _native(endpoint: str | None, region: str, keys: Keys) -> pafs.S3FileSystem:
    url = urlsplit(endpoint or "")
    return pafs.S3FileSystem(
        region=region,
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        session_token=keys.token,
        **({"endpoint_override": url.netloc, "scheme": url.scheme} if endpoint else {}),
    )


class _Addressed(pafs.FileSystemHandler):
    def __init__(self, endpoint: str | None, region: str) -> None:
        self._endpoint, self._region = endpoint, region

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Addressed) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self._endpoint, self._region))

    def _ask(self, ask: Callable[[pafs.S3FileSystem], Any]) -> Any:
        return patiently(lambda: ask(_native(self._endpoint, self._region, credentials().keys())))

    def get_type_name(self) -> str:
        return "s3"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        return [_told(info) for info in self._ask(lambda fs: fs.get_file_info([_bare(p) for p in paths]))]

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        """Of a folder in which nothing is: nothing."""
        bare = pafs.FileSelector(_bare(selector.base_dir), allow_not_found=True, recursive=selector.recursive)
        return [_told(info) for info in self._ask(lambda fs: fs.get_file_info(bare))]

    def create_dir(self, path: str, recursive: bool) -> None:
        """Nothing: a folder of S3 is there when something is in it."""

    def delete_dir(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._ask(lambda fs: fs.delete_dir(_bare(path)))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self._ask(lambda fs: fs.delete_dir_contents(_bare(path), missing_dir_ok=missing_dir_ok))

    def delete_root_dir_contents(self) -> None:
        raise PermissionError("a whole store is not emptied")

    def delete_file(self, path: str) -> None:
        self._ask(lambda fs: fs.delete_file(_bare(path)))

    def move(self, src: str, dest: str) -> None:
        self._ask(lambda fs: fs.move(_bare(src), _bare(dest)))

    def copy_file(self, src: str, dest: str) -> None:
        self._ask(lambda fs: fs.copy_file(_bare(src), _bare(dest)))

    def open_input_stream(self, path: str) -> Any:
        return self._ask(lambda fs: fs.open_input_stream(_bare(path)))

    def open_input_file(self, path: str) -> Any:
        return self._ask(lambda fs: fs.open_input_file(_bare(path)))

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        return PythonFile(_Upload(s3_client(self._endpoint, self._region), *bucket_and_key(path)), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise io.UnsupportedOperation(f"{path}: an object of S3 cannot be appended to; write a new one")


def _bare(address: str) -> str:
    return "/".join(bucket_and_key(address)).rstrip("/")


def _told(info: pafs.FileInfo) -> pafs.FileInfo:
    bucket, _, key = info.path.partition("/")
    size = info.size if info.size is not None else -1
    return pafs.FileInfo(address_of(bucket, key), info.type, mtime=info.mtime, size=size)


class _Upload:
    """A file that is put as one object when it is closed."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client, self._bucket, self._key = client, bucket, key
        self._held = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115
        self.closed = False

    def write(self, data: Any) -> int:
        return self._held.write(memoryview(data))

    def tell(self) -> int:
        return self._held.tell()

    def flush(self) -> None:
        """Nothing is visible before the end."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        with self._held as held:
            held.seek(0)
            asked(lambda: self._client.put_object(Bucket=self._bucket, Key=self._key, Body=held))

    def forget(self) -> None:
        self.closed = True
        self._held.close()


@contextmanager
def uploaded(client: Any, bucket: str, key: str) -> Iterator[Any]:
    """A file that is put when the block ends, and forgotten where it fails."""
    upload = _Upload(client, bucket, key)
    try:
        file = PythonFile(upload, mode="w")
        yield file
        file.close()
    except BaseException:
        upload.forget()
        raise
