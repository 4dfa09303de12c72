"""Six planted secrets, one for each kind of auth: none of them is ever seen where people look."""

from __future__ import annotations

import base64
import html
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from aiohttp import web
from pydantic import ValidationError

from asgard_assets.components.api import ApiIngestModel
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.source.config import load
from asgard_assets.ingest.api.source.models import ApiSource
from tests.fakes.authority import Authority
from tests.fakes.rest_api import RestApi, serving
from tests.ingest.api.sources import USAGE
from tests.patience import patience

CANARIES = {
    "BASIC": "canary-basic/1+a b",
    "BEARER": "canary-bearer-2",
    "HEADER": "canary-header&3",
    "QUERY": "canary-query/4 ü",
    "CLIENT": "canary-client+5",
    "PASSPHRASE": "canary-passphrase-6",
}
TOKEN = "canary-access-token-7"
AUTH = {
    "basic": {"type": "basic", "username": "ann", "password": "env:BASIC"},
    "bearer": {"type": "bearer", "token": "env:BEARER"},
    "header": {"type": "api_key", "key": "env:HEADER", "name": "X-Own-Key"},
    "query": {"type": "api_key", "key": "env:QUERY", "place": "query", "name": "key"},
    "client": {"type": "oauth2_client_credentials", "client_id": "crm", "client_secret": "env:CLIENT"},
}


class Echo(RestApi):
    """Gives back all that it was sent, in body and headers; fails some rows in several ways; issues tokens."""

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/users/{id}/usage", self._echo)
        app.router.add_post("/token", self._token)
        return app

    async def _token(self, request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 60})

    async def _echo(self, request: web.Request) -> web.Response:
        self.requests[request.path] += 1
        user = int(request.match_info["id"])
        if user == 6 and request.transport is not None:
            request.transport.abort()
        sent = {"headers": dict(request.headers), "url": str(request.raw_path), "q": dict(request.query)}
        status = {2: 500, 3: 404, 4: 200}.get(user, 200)
        echoed = json.dumps(sent, ensure_ascii=user % 2 == 0)
        headers = {"X-You-Sent": quote(request.headers.get("Authorization", "-") + request.raw_path)}
        headers["X-Key-Was"] = request.headers.get("X-Own-Key", "-")
        headers["Set-Cookie"] = f"token={request.headers.get('X-Own-Key', '')}"
        return web.Response(status=status, text=echoed, headers=headers)


def every_form(secret: str) -> list[bytes]:
    return [
        form.encode()
        for form in {
            secret,
            quote(secret, safe=""),
            quote(secret).replace("%20", "+"),
            json.dumps(secret)[1:-1],
            base64.b64encode(secret.encode()).decode(),
            base64.b64encode(f"ann:{secret}".encode()).decode(),
            base64.b64encode(f"crm:{quote(secret)}".encode()).decode(),
        }
    ]


@pytest.mark.servers
def test_no_canary_is_seen_in_bronze_logs_conf_ui_events_progress_or_errors(tmp_path, monkeypatch):
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    sources = tmp_path / "sources"
    sources.mkdir()
    authority = Authority(sources, CANARIES["PASSPHRASE"])
    bare = USAGE | {"form": {"type": "row", "rows": {"key": {"user_id": "bigint"}}}, "retry": {"attempts": 1}}
    with serving(Echo()) as api:

        def put(name: str, **changes) -> None:
            endpoint = bare["endpoint"] | {"base_url": changes.pop("url", api.url)}
            sink = {"table": f"bronze/{name}", "volatile_headers": []}
            config = bare | {"name": name, "endpoint": endpoint, "sink": sink} | changes
            (sources / f"{name}.yaml").write_text(yaml.safe_dump(config))

        for name, auth in AUTH.items():
            auth = auth | ({"token_url": f"{api.url}/token"} if name == "client" else {})
            put(name, auth=auth)
            # Where nobody answers, there is an error instead of rows.
            put(f"{name}_down", auth=auth, url="http://127.0.0.1:9")
        tls = {"certificate": authority.path("client.pem"), "key": authority.path("client.key")}
        put("mtls", auth=AUTH["bearer"], transport={"tls": tls | {"key_passphrase": "env:PASSPHRASE"}})
        put("mtls_wrong", auth=AUTH["bearer"], transport={"tls": tls | {"key_passphrase": "env:QUERY"}})
        put("token_down", auth=AUTH["client"] | {"token_url": "http://127.0.0.1:9/token"})
        done = subprocess.run(
            [sys.executable, "-m", "tests.ingest.api.canary_job", str(sources)],
            env=os.environ | {"ASGARD_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            timeout=patience(500),
        )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    for name in (*AUTH, "mtls"):
        assert told[name]["rows"] == 6, told[name]
    for name in (*(f"{name}_down" for name in AUTH), "mtls_wrong", "token_down"):
        assert "error" in told[name]
    assert told["workers_seen"] >= len(AUTH) + 1
    assert told["client_secret_in_worker_of"] == [], "also of another source's job"
    assert len(told["ui"]["environment/"]) > 5_000
    assert any((sources / "events").iterdir())

    looked_at = {"stdout": done.stdout.encode(), "stderr": done.stderr.encode()}
    for place in (tmp_path / "home", sources / "events"):
        for path in place.rglob("*"):
            if path.is_file():
                looked_at[str(path)] = path.read_bytes()
    looked_at |= {f"table {name}": _table(tmp_path / "home", name) for name in (*AUTH, "mtls")}
    assert any(b"you-sent" in content for content in looked_at.values()), "the echo is in Bronze"
    assert sum(name.startswith("table") for name in looked_at) == 6
    for name, content in looked_at.items():
        for kind, secret in {**CANARIES, "TOKEN": TOKEN}.items():
            for form in every_form(secret):
                assert form not in content, (
                    f"{kind} in {name}: {content[max(0, content.find(form) - 80) :][:200]!r}"
                )


def _table(home: Path, name: str) -> bytes:
    """All columns of all rows, as text."""
    from asgard_assets.lake import Lake
    from asgard_assets.settings import Settings

    os.environ["ASGARD_HOME"] = str(home)
    with Lake.from_settings(Settings()).connect() as connection:
        rows = connection.execute(f"select * from bronze.{name}").to_arrow_table().to_pylist()
    assert len(rows) == 6
    return "\n".join(str(value) for row in rows for value in row.values()).encode()


LITERAL = "canary-literal-in-yaml"


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "bearer", "token": LITERAL},
        {"type": "bearrer", "token": LITERAL},
        {"token": LITERAL},
        {"type": "bearer", "tokn": LITERAL},
        {"type": "basic", "username": "ann", "password": {"value": LITERAL}},
        {"type": "api_key", "key": [LITERAL]},
        {"type": "oauth2_client_credentials", "client_id": "x", "client_secret": LITERAL},
        {"type": ["bearer"], "token": LITERAL},
        {"type": "bearer", "headers": {"Authorization": LITERAL}},
        {"type": "basic", "username": {"name": LITERAL}},
        LITERAL,
        [LITERAL],
    ],
)
def test_a_secret_written_into_yaml_is_in_no_error(auth, tmp_path):
    broken = USAGE | {"auth": auth}
    without = {key: value for key, value in broken.items() if key != "sink"}
    for config in (broken, without):
        for model, data in ((ApiSource, config), (ApiIngestModel, {"source": config, "retries": -1})):
            with pytest.raises(ValidationError) as caught:
                model.model_validate(data)
            assert LITERAL not in str(caught.value)
            assert LITERAL not in repr(caught.value)
        file = tmp_path / "usage.yaml"
        file.write_text(yaml.safe_dump(config))
        with pytest.raises(ConfigError) as wrong:
            load(file)
        assert LITERAL not in str(wrong.value)
        assert LITERAL not in repr(wrong.value.attributes)


def test_credentials_in_an_address_or_a_header_are_refused_without_being_repeated():
    for endpoint in (
        {"base_url": f"https://ann:{LITERAL}@api.example"},
        {"base_url": "https://api.example", "headers": {"Authorization": f"Bearer {LITERAL}"}},
        {"base_url": "https://api.example", "headers": {"x-api-key": LITERAL}},
    ):
        with pytest.raises(ValidationError, match="auth") as caught:
            ApiSource.model_validate(USAGE | {"endpoint": endpoint})
        assert LITERAL not in str(caught.value)


def test_a_redactor_knows_how_others_write_a_secret():
    from asgard_assets.ingest.api.source.secrets import Redactor

    secret = 'a/b c+"ü"&<x>'
    redactor = Redactor([secret])
    for form in (secret, quote(secret), quote(secret, safe=""), json.dumps(secret), html.escape(secret)):
        assert redactor.text(f"before {form} after").strip('"') in ("before *** after", 'before "***" after')
