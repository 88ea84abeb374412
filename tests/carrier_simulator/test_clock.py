"""Virtual time: fast, held and stepped."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
import requests
from twilio.rest import Client

from tests.local.carrier import CarrierSimulator, Clock

from .conftest import ACCOUNT, OURS, TOKEN, Application

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def run(work: Callable[[Clock], Coroutine[Any, Any, None]], clock: Clock) -> None:
    async def main() -> None:
        clock.attach(asyncio.get_running_loop())
        await work(clock)

    asyncio.run(main())


def test_a_clock_runs_at_its_speed() -> None:
    async def work(clock: Clock) -> None:
        as_many_real_ones = asyncio.ensure_future(asyncio.sleep(20))
        began = time.monotonic()
        await clock.sleep(20)
        assert time.monotonic() - began > 0.19
        assert not as_many_real_ones.done()
        as_many_real_ones.cancel()

    run(work, Clock(100))


def test_a_stepped_clock_stands_still_until_it_is_advanced() -> None:
    async def work(clock: Clock) -> None:
        fired: list[float] = []
        for delay in (3, 1, 2, 2):
            clock.call_later(delay, lambda: fired.append(clock.seconds()))
        await asyncio.sleep(0.02)
        assert (fired, clock.now()) == ([], START)
        await clock.advance(2)
        assert (fired, clock.seconds()) == ([1, 2, 2], 2)
        await clock.advance(0.5)
        assert fired == [1, 2, 2]
        await clock.advance(10)
        assert (fired[-1], clock.seconds()) == (3, 12.5)

    run(work, Clock(stepped=True, start=START))


def test_consecutive_waits_end_at_exact_moments_on_a_slow_machine() -> None:
    async def work(clock: Clock) -> None:
        seen: list[float] = []

        async def chain() -> None:
            for _ in range(5):
                await clock.sleep(1)
                seen.append(clock.seconds())
                time.sleep(0.01)  # a machine too slow for this speed

        began = clock.seconds()
        await asyncio.gather(chain(), *(clock.sleep(0.5 * half) for half in range(1, 12)))
        # Only the first wait begins while time flows.
        steps = [later - earlier for earlier, later in pairwise(seen)]
        assert steps == pytest.approx([1, 1, 1, 1], abs=1e-6)
        assert seen[-1] - began >= 5

    run(work, Clock(1_000))


def test_a_clock_does_not_catch_up_on_lost_time() -> None:
    async def work(clock: Clock) -> None:
        clock.call_later(1, time.sleep, 0.6)
        await clock.sleep(2)
        before = clock.seconds()
        assert before < 2 + 100 * 0.5

    run(work, Clock(100))


def test_time_never_goes_back_in_any_thread() -> None:
    async def work(clock: Clock) -> None:
        def read() -> bool:
            last = 0.0
            for _ in range(20_000):
                now = clock.seconds()
                if now < last:
                    return False
                last = now
            return True

        async def tick() -> None:
            while True:
                await clock.sleep(0.5)

        ticking = asyncio.ensure_future(tick())
        readers = [asyncio.to_thread(read) for _ in range(3)]
        assert await asyncio.gather(*readers) == [True, True, True]
        ticking.cancel()

    run(work, Clock(5_000))


def test_a_canceled_timer_does_not_fire() -> None:
    async def work(clock: Clock) -> None:
        fired: list[int] = []
        timer = clock.call_later(1, fired.append, 1)
        clock.call_later(1, fired.append, 2)
        timer.cancel()
        timer.cancel()
        await clock.advance(2)
        assert fired == [2]

    run(work, Clock(stepped=True))


def test_a_clock_with_a_hold_waits_for_the_work_in_flight() -> None:
    async def work(clock: Clock) -> None:
        fired: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        timer = clock.call_later(1, lambda: fired.set_result(clock.seconds()))
        due = timer.due
        with clock.track_work():
            await asyncio.sleep(0.05)
            assert not fired.done()
        assert await fired == due

    run(work, Clock(100, hold=0))


@pytest.mark.parametrize("rounds", range(1, 40))
def test_a_stepped_clock_waits_for_the_work_that_a_response_starts(rounds) -> None:
    """The response takes `rounds` of the event loop, and its consequences take a few more."""

    async def work(clock: Clock) -> None:
        done: list[float] = []

        async def webhook() -> None:
            with clock.track_work():
                for _ in range(rounds):
                    await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(0)
            await clock.sleep(2)
            done.append(clock.seconds())

        sent: list[asyncio.Task[None]] = []
        clock.call_later(1, lambda: sent.append(asyncio.ensure_future(webhook())))
        await clock.advance(10)
        assert done == [3]

    run(work, Clock(stepped=True))


def test_the_speed_of_a_running_clock_can_be_changed() -> None:
    async def work(clock: Clock) -> None:
        sleeping = asyncio.ensure_future(clock.sleep(1_000))
        await asyncio.sleep(0)
        clock.set_speed(0)
        stood = clock.seconds()
        await asyncio.sleep(0.02)
        assert clock.seconds() == stood
        clock.set_speed(100_000)
        await sleeping

    run(work, Clock(1))


@pytest.mark.parametrize("speed", [0, -1, float("inf"), float("nan")])
def test_an_invalid_speed_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        Clock(speed)


def test_a_five_minute_call_on_a_fast_clock_lasts_exactly_five_minutes(
    application: Application,
) -> None:
    with CarrierSimulator(ACCOUNT, TOKEN, clock=Clock(600)) as simulator:
        client = Client(ACCOUNT, TOKEN)
        client.api.base_url = simulator.url
        requests.put(
            simulator.url + "/sim/behaviours/*",
            json={"hang_up_after": 300, "stay_at_most": 999},
        ).raise_for_status()
        call = client.calls.create(
            to="+14155552671",
            from_=OURS,
            url=application.answer("/start", "<Response><Pause length='900'/></Response>"),
        )
        began = time.monotonic()
        simulator.clock.until(
            lambda: client.calls(call.sid).fetch().status == "completed", within=600
        )
        assert time.monotonic() - began < 300
        assert client.calls(call.sid).fetch().duration == "300"
        client.http_client.session.close()


def test_the_api_reads_sets_and_advances_the_clock(simulator: CarrierSimulator) -> None:
    url = simulator.url + "/sim/clock"
    before = requests.get(url).json()
    assert before["speed"] == 0
    after = requests.post(url + "/advance", json={"seconds": 12.5}).json()
    assert after["seconds"] == before["seconds"] + 12.5
    assert requests.put(url, json={"speed": 5}).json()["speed"] == 5
    assert requests.post(url + "/advance", json={"seconds": 1}).status_code == 400
    for bad in ({"speed": "fast"}, {"speed": -1}, {}):
        assert requests.put(url, json=bad).status_code == 400
