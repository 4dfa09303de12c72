"""Clients of AWS services that sign with the keys of now, and send again with new ones what was refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from asgard_assets.lake.s3.credentials import REFUSALS, credentials


@dataclass(frozen=True)
class Patience:
    """How long a client waits for a server, and how often it asks."""

    connect_seconds: int = 5
    read_seconds: int = 60
    attempts: int = 5


@lru_cache(maxsize=8)
def aws_client(
    service: str,
    endpoint: str | None,
    region: str,
    patience: Patience = Patience(),  # noqa: B008
) -> Any:
    """A client of an AWS service with these keys.

    One for each service and endpoint: the model of S3's API alone is 13 MB.
    """
    with _MAKING:  # threads that begin together would make one each
        return _client(service, endpoint, region, patience)


_MAKING = threading.Lock()
_SIGNED = threading.local()
"""The keys with which a thread signed its latest request."""


def _client(service: str, endpoint: str | None, region: str, patience: Patience) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.credentials import Credentials as Known
    from botocore.credentials import ReadOnlyCredentials
    from botocore.session import Session

    class Live(Known):
        """Asks for the keys each time that a request is signed."""

        def get_frozen_credentials(self) -> Any:
            now = _SIGNED.keys = credentials().keys()
            return ReadOnlyCredentials(now.access_key, now.secret_key, now.token)

    class Resolver:
        def load_credentials(self) -> Any:
            return Live("", "")

    session = Session()
    session.register_component("credential_provider", Resolver())
    config = Config(
        connect_timeout=patience.connect_seconds,
        read_timeout=patience.read_seconds,
        max_pool_connections=32,
        retries={"mode": "standard", "max_attempts": patience.attempts},
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    client: Any = boto3.Session(botocore_session=session).client(
        service, endpoint_url=endpoint, region_name=region, config=config
    )
    client.meta.events.register_first(f"needs-retry.{service}", _once_more)
    return client


def _once_more(response: Any, attempts: int, **_: Any) -> int | None:
    """botocore's question whether to send a request again: yes, with new keys, where the first ones were refused."""
    if response is None or attempts > 1:
        return None
    answer, told = response
    code = str(told.get("Error", {}).get("Code", ""))
    if answer.status_code != 403 and not (answer.status_code == 400 and code in (*REFUSALS, "400")):
        return None
    return 0 if credentials().renew(getattr(_SIGNED, "keys", None)) else None


def s3_client(endpoint: str | None, region: str) -> Any:
    """boto3's client of an S3 endpoint, with the keys of now."""
    return aws_client("s3", endpoint, region)


def asked(ask: Callable[[], Any]) -> Any:
    """botocore's answer. Raises FileNotFoundError, PermissionError or OSError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return ask()
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            raise FileNotFoundError(str(error)) from error
        raise OSError(str(error)) from error
    except BotoCoreError as error:
        raise OSError(str(error)) from error


def use_tls(endpoint: str | None) -> tuple[str, bool]:
    """Host with port of an endpoint, and whether it speaks TLS."""
    url = urlsplit(endpoint or "")
    return url.netloc, url.scheme != "http"
