"""Where tables and files may lie: a local folder or `s3://bucket/prefix`. Anything else is refused by name."""

from __future__ import annotations

import os
import re
from pathlib import Path

from asgard_assets.errors import ConfigError

_S3 = "s3://"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_OURS = ("", "s3", "s3a", "s3n", "file")
_STORES = {
    **dict.fromkeys(("gs", "gcs"), "Google Cloud Storage"),
    **dict.fromkeys(("az", "azure", "abfs", "abfss", "wasb", "wasbs", "adl"), "Azure storage"),
    **dict.fromkeys(("hdfs", "webhdfs", "viewfs"), "HDFS"),
    **dict.fromkeys((*_OURS[1:], "dbfs", "r2", "oss", "ftp", "sftp", "http", "https"), ""),
}


def checked_root(root: str, setting: str, what: str = "tables are kept in") -> str:
    """The root as every engine takes it: an absolute folder, or `s3://bucket/prefix` without a slash at its end.

    Raises ConfigError that names `setting` where it is neither: delta-rs, Arrow, DuckDB and Spark each take such an
    address for something else, for a folder of that name too, and fail much later.
    """
    if re.match(rf"{_S3}[A-Za-z0-9][A-Za-z0-9._-]*(/|$)", root):
        return root.rstrip("/")
    match = _SCHEME.match(root.strip())
    scheme = match.group(1).lower() if match else ""
    if "://" not in root and not root.startswith("s3//") and scheme not in _STORES:
        return os.path.abspath(os.path.expanduser(root))
    shown = re.sub(r"//[^/@]*@", "//…@", root)
    not_yet = (
        "" if scheme in _OURS else f", not yet {what.rpartition(' ')[2]} {_STORES.get(scheme) or scheme}"
    )
    raise ConfigError(
        f"{shown!r} cannot be used: {what} a local folder (/path) or S3 (s3://bucket/prefix){not_yet}; correct the "
        f"setting {setting}"
    )


def owned(folder: Path) -> Path:
    """The folder, made if it is not there, and closed to other users of the machine: it holds rows, logs and answers.

    One that its group may write to is shared on purpose, and stays as it is.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = folder.stat().st_mode
    if mode & 0o077 and not mode & 0o020:
        try:
            folder.chmod(0o700)
        except PermissionError:
            pass  # somebody else's
    return folder


def is_remote(address: str) -> bool:
    """Whether an address is one of an object store, not of a local folder."""
    return address.startswith(_S3)


def bucket_and_key(address: str) -> tuple[str, str]:
    """Bucket and key of an address in an object store."""
    bucket, _, key = address.removeprefix(_S3).partition("/")
    return bucket, key


def address_of(bucket: str, key: str) -> str:
    """The address of an object."""
    return f"{_S3}{bucket}/{key}".rstrip("/")


def spark_address(address: str) -> str:
    """An address as Spark's Hadoop client spells it."""
    return f"s3a://{address.removeprefix(_S3)}" if is_remote(address) else address
