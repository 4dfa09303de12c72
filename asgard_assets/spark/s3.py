"""The exchange of a step as objects on S3, for hosts and drivers that share no disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlparse

from asgard_assets.errors import SparkJobError, Transient
from asgard_assets.lake.s3.client import Patience, aws_client
from asgard_assets.roots import address_of

_PATIENCE = Patience(connect_seconds=5, read_seconds=15, attempts=3)


class ExchangeUnreachable(Transient, SparkJobError):
    """The bucket of the exchange does not answer."""


@dataclass
class S3Transport:
    """Objects under a bucket's prefix. Keys come from the environment or the pod's role, never from here."""

    bucket: str
    prefix: str
    endpoint: str | None = None
    region: str = "us-east-1"
    _client: Any = field(default=None, repr=False)

    @classmethod
    def at(cls, address: str, endpoint: str | None = None, region: str | None = None) -> S3Transport:
        """By address; endpoint and region default to what the environment of a driver says."""
        url = urlparse(address)
        return cls(
            url.netloc,
            url.path.strip("/"),
            endpoint or os.environ.get("ASGARD_S3_ENDPOINT") or None,
            region or os.environ.get("ASGARD_S3_REGION") or "us-east-1",
        )

    @property
    def address(self) -> str:
        return address_of(self.bucket, self.prefix)

    def put(self, name: str, body: bytes) -> None:
        self._call("put_object", Key=f"{self.prefix}/{name}", Body=body)

    def get(self, name: str) -> bytes | None:
        found = self._call("get_object", Key=f"{self.prefix}/{name}", missing=True)
        return None if found is None else found

    def folders(self) -> Iterator[str]:
        """Names of the exchanges that lie below this address."""
        token: dict[str, Any] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=f"{self.prefix}/", Delimiter="/", **token)
            for entry in page.get("CommonPrefixes", []):
                yield entry["Prefix"].removeprefix(f"{self.prefix}/").rstrip("/")
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def remove(self) -> None:
        token: dict[str, Any] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=f"{self.prefix}/", **token)
            for entry in page.get("Contents", []):
                self._call("delete_object", Key=entry["Key"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _call(self, operation: str, missing: bool = False, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = getattr(self.client, operation)(Bucket=self.bucket, **arguments)
            return answer["Body"].read() if operation == "get_object" else answer
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if missing and code in ("NoSuchKey", "404"):
                return None
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status >= 500 or status in (408, 429) or code in ("SlowDown", "RequestTimeout"):
                raise ExchangeUnreachable(f"S3 answers {status} ({code}) at {self.address}") from error
            raise SparkJobError(
                f"S3 refuses {operation} at {self.address}: {code}. To fix: check ASGARD_LAKE, ASGARD_S3_ENDPOINT "
                "and the keys in the secret S3_SECRET_NAME; they need get, put, delete and list on the bucket (without "
                "list, S3 refuses what is only not there yet)",
                exit_code=None,
            ) from error
        except BotoCoreError as error:
            raise ExchangeUnreachable(
                f"S3 does not answer at {self.address}: {type(error).__name__}"
            ) from error

    @property
    def client(self) -> Any:
        """One for all attempts of this process: each holds the model of S3's API, 13 MB."""
        return self._client or aws_client("s3", self.endpoint, self.region, _PATIENCE)
