"""How a step and its result travel between a host and a Spark driver.

A `Transport` is a private prefix of one attempt: small named objects, each written whole. `Wire` puts the
conversation on top of it: signed messages, in numbered chunks that are only ever added. Folders are here,
S3 is in `s3.py`; any object store that reads its own writes can be one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlparse

from asgard_assets.errors import ConfigError, SparkJobError
from asgard_assets.roots import address_of


class Transport(Protocol):
    """Named objects under one attempt's prefix. Both sides open it by its address."""

    @property
    def address(self) -> str:
        """What `open_transport` takes on the other side."""
        ...

    def put(self, name: str, body: bytes) -> None:
        """Write an object: a reader sees all of it or none."""
        ...

    def get(self, name: str) -> bytes | None:
        """The object's bytes, None where it is not there."""
        ...

    def remove(self) -> None:
        """Delete everything under the prefix; nothing there is no error."""
        ...


@dataclass(frozen=True)
class FolderTransport:
    """A folder that host and driver share."""

    folder: Path

    @property
    def address(self) -> str:
        return self.folder.absolute().as_uri()

    def put(self, name: str, body: bytes) -> None:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        new.write_bytes(body)
        os.replace(new, target)

    def get(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def open_transport(address: str) -> Transport:
    """The transport behind an address, for example `file:///…/launcher/<run>-<step>-0`."""
    url = urlparse(address)
    if url.scheme == "file":
        return FolderTransport(Path(unquote(address.removeprefix("file://"))))
    if url.scheme == "s3":
        from asgard_assets.spark.s3 import S3Transport

        return S3Transport.at(address)
    raise ConfigError(
        f"no transport for {address}: use a folder (file:///…) or S3 ({address_of('bucket', 'prefix')})"
    )


def new_key() -> str:
    """A signing key for one attempt. It travels in the driver's environment, never through the transport."""
    return os.urandom(32).hex()


@dataclass
class Wire:
    """One end of the conversation. Every object is signed together with its name.

    Raises SparkJobError when it reads an object that the other end did not sign: nothing of it is used.
    """

    transport: Transport
    key: str
    sent: int = 0
    received: int = 0
    _seen: dict[str, tuple[bytes, float]] = field(default_factory=dict)

    def put(self, name: str, body: bytes) -> None:
        self.transport.put(name, self._sign(name, body).encode() + b"\n" + body)

    def get(self, name: str) -> bytes | None:
        found = self.transport.get(name)
        if found is None:
            return None
        signature, _, body = found.partition(b"\n")
        if not hmac.compare_digest(signature.decode("ascii", "replace"), self._sign(name, body)):
            raise SparkJobError(
                f"{self.transport.address}/{name} was not signed by the other side of this step; "
                "somebody else writes into the launcher's folder"
            )
        return body

    def send(self, messages: Sequence[str]) -> None:
        """Add one chunk of messages, each of one line."""
        self.put(_chunk(self.sent), "\n".join(messages).encode())
        self.sent += 1

    def receive(self) -> Iterator[str]:
        """Messages that have arrived since the last call, in the order in which they were sent."""
        while (body := self.get(_chunk(self.received))) is not None:
            self.received += 1
            yield from body.decode().split("\n")

    def beat(self, who: str) -> None:
        """Say that this end is alive."""
        self.put(f"{who}.beat", f"{time.monotonic_ns()}".encode())

    def silence(self, who: str) -> float | None:
        """Seconds, by this end's own clock, since the other end's beat last changed; None: never heard."""
        beat = self.get(f"{who}.beat")
        if beat is None:
            return None
        known, since = self._seen.get(who, (b"", 0.0))
        if beat != known:
            self._seen[who] = (beat, time.monotonic())
            return 0.0
        return time.monotonic() - since

    def _sign(self, name: str, body: bytes) -> str:
        return hmac.new(bytes.fromhex(self.key), name.encode() + b"\0" + body, hashlib.sha256).hexdigest()


def _chunk(number: int) -> str:
    return f"events/{number:08d}"
