"""Refresh tokens that rotate, kept in the lake: encrypted, and used by one run at a time.

A server that rotates its refresh tokens takes each of them once. So whoever wants to use one takes the lease
first: a commit to the table `_logins/<source>`, which Delta refuses if somebody else was faster. The new token is
committed before anything else is done with it. What a run that was killed leaves behind is a lease, which ends.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from asgard_assets.errors import ConfigError, FencedError
from asgard_assets.ingest.api.source.secrets import Secret
from asgard_assets.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

STAGE = "_logins"
LEASE_SECONDS = 120.0


@dataclass(frozen=True, repr=False)
class Kept:
    """What is kept of a login. Times are seconds since 1970.

    `first` is a hash of the refresh token that the configuration had: another one there begins anew.
    """

    first: str = ""
    refresh: str = ""
    access: str = ""
    valid_until: float = 0.0
    leased_until: float = 0.0
    number: int = 0  # of the commit that it was read from


class Vault:
    """One source's login. `key` is what it is encrypted with."""

    def __init__(self, lake: Lake, source: str, key: Secret, clock: Callable[[], float] = time.time):
        self._lake, self._source, self._key, self._clock = lake, source, key, clock

    def read(self) -> Kept:
        """What is kept. Raises ConfigError where it was encrypted with another key."""
        import pyarrow.parquet as pq
        from cryptography.fernet import InvalidToken

        number = self._lake.epochs(STAGE, self._source, [""])[""]
        files = self._lake.files(STAGE, self._source)
        if not files:
            return Kept()
        path = files[0]
        row = pq.ParquetFile(path, filesystem=self._lake.filesystem).read().to_pylist()[0]
        try:
            told = self._cipher(base64.b64decode(row["salt"])).decrypt(row["sealed"].encode())
        except InvalidToken as error:
            raise ConfigError(
                f"{self._source}: the refresh token that is kept in the lake was encrypted with another secret than "
                f"auth.token_key has now; give the old one, or remove {self._lake.path(STAGE, self._source)} and a new "
                "refresh token",
                field="auth.token_key",
            ) from error
        return Kept(**json.loads(told) | {"number": number, "leased_until": row["leased_until"]})

    def lease(self, kept: Kept) -> Kept | None:
        """Take the lease on what was read; None where somebody else was faster."""
        return self._put(kept, self._clock() + LEASE_SECONDS)

    def keep(self, kept: Kept) -> Kept | None:
        """Write new tokens and give the lease back; None where the lease had ended and another run took it."""
        return self._put(kept, 0.0)

    def _put(self, kept: Kept, leased_until: float) -> Kept | None:
        import pyarrow as pa

        salt = os.urandom(16)
        told = {name: value for name, value in asdict(kept).items() if name not in ("number", "leased_until")}
        sealed = self._cipher(salt).encrypt(json.dumps(told).encode()).decode()
        columns: dict[str, pa.DataType] = {
            "salt": pa.string(), "sealed": pa.string(), "leased_until": pa.float64()
        }  # fmt: skip
        row = {"salt": base64.b64encode(salt).decode(), "sealed": sealed, "leased_until": leased_until}
        rows = pa.Table.from_pylist([row], schema=pa.schema(list(columns.items())))
        staging = self._lake.stage(STAGE, self._source, rows.schema, seen={"": kept.number})
        self._lake.write(staging, rows)
        try:
            self._lake.publish(staging)
        except FencedError:
            self._lake.discard(staging)
            return None
        return Kept(**told | {"number": kept.number + 1, "leased_until": leased_until})

    def _cipher(self, salt: bytes):  # noqa: ANN202  cryptography is imported where it is needed
        from cryptography.fernet import Fernet

        key = hashlib.scrypt(self._key.value.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)
        return Fernet(base64.urlsafe_b64encode(key))


def first_hash(token: Secret) -> str:
    return hashlib.sha256(token.value.encode()).hexdigest()
