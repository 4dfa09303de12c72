import asyncio

from asgard_assets.ingest.api.limits import Pacer, Pause
from tests.ingest.api.clock import Clock


def test_a_declared_rate_is_paced_and_a_lull_earns_no_burst():
    clock = Clock()
    pacer = Pacer(10, clock, clock.sleep)

    async def turns():
        times = []
        for _ in range(3):
            await pacer.turn()
            times.append(round(clock.now - 1000, 3))
        clock.now += 60
        for _ in range(3):
            await pacer.turn()
            times.append(round(clock.now - 1000, 3))
        return times

    assert asyncio.run(turns()) == [0.0, 0.1, 0.2, 60.2, 60.3, 60.4]


def test_no_rate_no_wait():
    clock = Clock()
    asyncio.run(Pacer(None, clock, clock.sleep).turn())
    assert clock.slept == []


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
