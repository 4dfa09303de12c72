"""Where a Spark Connect server listens, and how one gets in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from asgard_assets.errors import ConfigError, SparkServerError
from asgard_assets.settings import Settings

LOCAL = "localhost"  # under another name, pyspark sends a token over TLS only
_REACH_SECONDS = 10.0
_USER = "asgard"
VARIABLE, TOKEN_VARIABLE = "ASGARD_SPARK_CONNECT", "ASGARD_SPARK_CONNECT_TOKEN"


@dataclass(frozen=True)
class Address:
    """A server: host and port, whether the connection is encrypted, and the token that it wants.

    `clear`: the network between is trusted, so that a token may be sent without TLS.
    `starting_seconds`: it has been started just now, and may take so long until it answers. `setting` and `token_setting`
    are where a person changes the address.
    """

    host: str
    port: int
    tls: bool = False
    token: str = field(default="", repr=False)
    clear: bool = False
    starting_seconds: float = 0.0
    setting: str = VARIABLE
    token_setting: str = TOKEN_VARIABLE

    def __post_init__(self) -> None:
        if self.token and not self.tls and not self.clear and self.host != LOCAL:
            here = f"{self.setting}=sc://{self.host}:{self.port}"
            raise ConfigError(
                f"{self}: a token is sent over TLS only. Put a proxy that ends TLS before the server and set {here}/;use_ssl=true; "
                f"or, where the network between is your own, {here}/;use_ssl=false"
            )

    @classmethod
    def of(cls, settings: Settings, token: str = "") -> Address:
        """The server that the settings name, with the token that their reference stands for."""
        rest, _, options = settings.spark_connect.removeprefix("sc://").partition("/")
        host, _, port = rest.partition(":")
        tls, clear = "use_ssl=true" in options, "use_ssl=false" in options
        return cls(host, int(port or settings.spark_connect_port), tls, token, clear)

    def __str__(self) -> str:
        return f"sc://{self.host}:{self.port}{'/;use_ssl=true' if self.tls else ''}"

    @property
    def url(self) -> str:
        """The whole address, with the token: not to be shown."""
        token = f";token={self.token}" if self.token else ""
        if self.token and not self.tls and self.host != LOCAL:
            token = f";authorization={quote(f'Bearer {self.token}')}"  # pyspark turns TLS on for what it calls a token
        return f"sc://{self.host}:{self.port}/;user_id={_USER}{';use_ssl=true' if self.tls else ''}{token}"

    def channel(self) -> Any:
        """What opens pyspark's connections. A machine's web proxy is not asked for a server of this machine."""
        from pyspark.sql.connect.client import DefaultChannelBuilder

        token = self.token if self.tls or self.host == LOCAL else None

        class Builder(DefaultChannelBuilder):
            @property
            def token(self) -> str | None:
                """The address's. pyspark would take one of the environment too, and turn TLS on for it."""
                return token or None

        return Builder(self.url, [("grpc.enable_http_proxy", 0)] if self.host == LOCAL else None)

    def reach(self, seconds: float = _REACH_SECONDS) -> None:
        """Raises SparkServerError unless the server can be talked to within so many seconds."""
        import grpc

        seconds = max(seconds, self.starting_seconds)
        channel = self.channel().toChannel()
        try:
            grpc.channel_ready_future(channel).result(timeout=seconds)
        except grpc.FutureTimeoutError as error:
            how = "over TLS" if self.tls else "without TLS"
            raise SparkServerError(
                f"the Spark Connect server {self} does not answer {how} within {seconds:g} s. {self.cure}",
                address=str(self),
            ) from error
        finally:
            channel.close()

    @property
    def cure(self) -> str:
        """What to do where the server cannot be reached."""
        if self.host == LOCAL and self.starting_seconds:
            return "See its log in ASGARD_HOME/spark-connect, or start it: asgard spark-server"
        return f"Check {self.setting} (host, port, TLS), whether the server runs, and the network between"
