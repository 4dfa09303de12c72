import asyncio

from asgard_assets.ingest.api.rate.pacing import Pause
from tests.ingest.api.clock import Clock


def test_a_throttled_pool_waits_as_a_whole():
    clock = Clock()
    pause = Pause(0.1, clock, clock.sleep)
    pause.throttled(5)
    asyncio.run(pause.over())
    assert clock.now == 1005


def test_one_throttled_answer_among_many_pauses_nobody_else():
    clock = Clock()
    pause = Pause(0.1, clock, clock.sleep)
    for _ in range(31):
        pause.answered()
    pause.throttled(5)
    asyncio.run(pause.over())
    assert clock.slept == []
