"""The driver's service: real TLS on loopback."""

from __future__ import annotations

import asyncio
import json
import pickle
import ssl
from contextlib import contextmanager
from dataclasses import replace

import aiohttp
import pytest

from asgard_assets.ingest.api.access.auth import Credentials, Fixed
from asgard_assets.ingest.api.access.service import JobService, ServiceClient
from asgard_assets.ingest.api.http.messages import Refused, TransportError
from asgard_assets.ingest.api.rate.budget import Budget
from asgard_assets.ingest.api.rate.lease import Observed
from asgard_assets.ingest.api.source.secrets import Secret

KNOWN = Credentials(
    "header", "Authorization", Secret("Bearer canary-1"), (Secret("canary-1"),), 3, 50.0, (401,)
)


def ask(address, work):
    async def run():
        async with ServiceClient(address) as client:
            return await work(client)

    return asyncio.run(run())


@contextmanager
def listening(rate=None):
    with JobService(Fixed(KNOWN), Budget(rate)) as service:
        yield service.address()


def test_a_worker_gets_credentials_and_turns():
    with listening(100) as address:
        assert ask(address, lambda client: client.credentials()) == KNOWN
        lease = ask(address, lambda client: client.lease(3, Observed(answered=1)))
    assert (lease.free, lease.count) == (False, 3)
    assert lease.gap == pytest.approx(1 / 98.5)


def test_nobody_gets_anything_without_the_bearer():
    with listening() as address:
        wrong = replace(address, bearer=Secret("guess"))
        for work in (lambda client: client.credentials(), lambda client: client.lease(1, None)):
            with pytest.raises(TransportError, match="403"):
                ask(wrong, work)


def test_a_worker_trusts_its_own_driver_alone():
    with listening() as ours, listening() as other:
        with pytest.raises(TransportError, match="certificate verify failed"):
            ask(replace(ours, url=other.url), lambda client: client.credentials())


def test_the_wire_is_tls_and_json():
    async def run(address):
        with pytest.raises(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session:
                await session.post(address.url.replace("https", "http") + "/credentials")
        context = ssl.create_default_context(cadata=address.certificate)
        async with aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {address.bearer.value}"}
        ) as session:
            async with session.post(f"{address.url}/credentials", json={}, ssl=context) as answer:
                return answer.content_type, json.loads(await answer.read())

    with listening() as address:
        kind, fields = asyncio.run(run(address))
    assert kind == "application/json"
    assert fields["secret"] == "Bearer canary-1"


def test_what_is_shipped_to_a_worker_holds_no_secret():
    with listening() as address:
        assert b"canary" not in pickle.dumps(address)
        assert address.bearer.value not in repr(address)


def test_credentials_that_are_no_good_stop_the_job_before_it_starts():
    class Bad:
        async def credentials(self, rejected=None):
            raise Refused("crm: check env:CRM_SECRET")

    with pytest.raises(Refused, match="CRM_SECRET"), JobService(Bad(), Budget()):
        pytest.fail("the job started")


def test_a_service_that_ended_is_an_error_that_says_so():
    with listening() as address:
        pass
    with pytest.raises(TransportError, match="the driver's service does not answer"):
        ask(address, lambda client: client.credentials())


def test_a_task_of_the_same_process_gets_both_and_nothing_listens():
    class Gone:
        asked = 0

        async def credentials(self, rejected=None):
            self.asked += 1
            if self.asked > 1:
                raise Refused("crm: check env:CRM_SECRET")
            return KNOWN

    async def lease(client):
        async with client:
            return await client.lease(3, Observed(answered=1))

    with JobService(Fixed(KNOWN), Budget(100)) as service:
        # One loop after the other, as the parts of a job have them: the budget is the same.
        for _ in range(2):
            assert asyncio.run(lease(service.local())).count == 3
        assert asyncio.run(service.local().credentials()) == KNOWN
    with JobService(Gone(), Budget()) as service, pytest.raises(TransportError, match="CRM_SECRET"):
        asyncio.run(service.local().credentials())
    assert "canary" not in repr(service.local())
