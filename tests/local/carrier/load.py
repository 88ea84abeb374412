"""Load test of the simulator: `python -m tests.local.carrier.load`.

Places many calls over HTTP against an application in a second process, lets each last its
minutes of virtual time, and checks every single one afterwards: answered, its length exact, its
four status callbacks in. Prints one JSON object of figures; exits 1 when a call went wrong.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import sys
import threading
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.local.clock import Clock

from .scripts import Behaviour, Scripts
from .settings import Settings
from .simulator import CarrierSimulator

ACCOUNT, TOKEN = "AC" + "10ad" * 8, "10ad" * 8
EVENTS = ("initiated", "ringing", "answered", "completed")
# Requests to the simulator at once, and webhooks in flight before virtual time waits for them.
PARALLEL_CREATES = 16
WEBHOOKS_IN_FLIGHT = 48
STALLED_SECONDS = 60.0
ROOM = (
    '<Response><Dial><Conference beep="false" endConferenceOnExit="true" maxParticipants="2" '
    'waitUrl="" statusCallback="/conference" statusCallbackEvent="join leave start end">'
    "room-{number}</Conference></Dial></Response>"
)
ALONE = '<Response><Pause length="3600"/></Response>'


class Application:
    """The other side: answers TwiML requests, counts callbacks, places the calls."""

    def __init__(self, simulator_url: str, calls: int, seconds: int, rooms: bool):
        self.simulator_url = simulator_url
        self.calls = calls
        self.seconds = seconds
        self.rooms = rooms
        self.requests = 0
        self.events: Counter[str] = Counter()
        self.durations: Counter[int] = Counter()
        # The last callback of a call is its `completed`, that of a room its `conference-end`.
        self.left = calls + (calls // 2 if rooms else 0)
        self.done = asyncio.Event()

    async def run(self) -> dict[str, Any]:
        app = web.Application()
        app.add_routes(
            [
                web.post("/twiml/{number}", self.twiml),
                web.post("/status", self.status),
                web.post("/conference", self.conference),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        port = runner.addresses[0][1]
        try:
            await self.place_all(f"http://127.0.0.1:{port}")
            before = -1
            while not self.done.is_set() and before != self.requests:
                before = self.requests
                try:
                    await asyncio.wait_for(self.done.wait(), STALLED_SECONDS)
                except TimeoutError:
                    continue
        finally:
            await runner.cleanup()
        return {
            "events": dict(self.events),
            "durations": {str(k): v for k, v in sorted(self.durations.items())},
            "application_requests": self.requests,
        }

    async def place_all(self, own_url: str) -> None:
        numbers = iter(range(self.calls))
        url = f"{self.simulator_url}/2010-04-01/Accounts/{ACCOUNT}/Calls.json"
        async with aiohttp.ClientSession(auth=aiohttp.BasicAuth(ACCOUNT, TOKEN)) as session:

            async def place() -> None:
                for number in numbers:
                    form = [
                        ("To", f"+1415{2_000_000 + number}"),
                        ("From", "+14155550100"),
                        ("Url", f"{own_url}/twiml/{number}"),
                        ("StatusCallback", f"{own_url}/status#rc=3&rp=all"),
                        *(("StatusCallbackEvent", event) for event in EVENTS),
                    ]
                    async with session.post(url, data=form) as response:
                        if response.status != 201:
                            raise RuntimeError(await response.text())
                        await response.read()

            await asyncio.gather(*(place() for _ in range(PARALLEL_CREATES)))

    async def twiml(self, request: web.Request) -> web.Response:
        self.requests += 1
        number = int(request.match_info["number"])
        text = ROOM.format(number=number // 2) if self.rooms else ALONE
        return web.Response(text=text, content_type="text/xml")

    async def status(self, request: web.Request) -> web.Response:
        self.requests += 1
        form = await request.post()
        status = str(form["CallStatus"])
        self.events[status] += 1
        if "CallDuration" in form:
            self.durations[int(str(form["CallDuration"]))] += 1
            self._one_less()
        return web.Response(status=204)

    def _one_less(self) -> None:
        self.left -= 1
        if not self.left:
            self.done.set()

    async def conference(self, request: web.Request) -> web.Response:
        self.requests += 1
        form = await request.post()
        event = str(form["StatusCallbackEvent"])
        self.events[event] += 1
        if event == "conference-end":
            self._one_less()
        return web.Response(status=204)


def _application(pipe: Connection, url: str, calls: int, seconds: int, rooms: bool) -> None:
    pipe.send(asyncio.run(Application(url, calls, seconds, rooms).run()))


def measure(
    calls: int, seconds: int, *, rooms: bool = False, keep: int = 2_000, speed: float = 60.0
) -> dict[str, Any]:
    """Run it; returns the figures. Memory is this process's (the simulator's), in megabytes."""
    scripts = Scripts({})
    scripts.set("*", Behaviour(hang_up_after=float(seconds), stay_at_most=2.0 * seconds))
    simulator = CarrierSimulator(
        ACCOUNT,
        TOKEN,
        clock=Clock(speed, hold=WEBHOOKS_IN_FLIGHT),
        settings=Settings(calls_per_second=100.0, keep_ended=keep),
        scripts=scripts,
    )
    peaks: list[float] = []
    most = 0
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.25):
            most = max(most, simulator.exchange.live_calls)
            peaks.append(_resident_megabytes())

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    watcher = threading.Thread(target=watch)
    with simulator:
        before = _resident_megabytes()
        process = context.Process(
            target=_application, args=(theirs, simulator.url, calls, seconds, rooms)
        )
        began = time.monotonic()
        watcher.start()
        process.start()
        theirs.close()
        try:
            result: dict[str, Any] = ours.recv()
        finally:
            process.join(10)
            over.set()
            watcher.join()
        elapsed = time.monotonic() - began
        virtual = simulator.clock.seconds()
        crashes = list(simulator.exchange.crashes)
        warnings = Counter(line.code for line in simulator.exchange.debugger.lines)
    half = len(peaks) // 2
    return {
        "calls": calls,
        "call_seconds": seconds,
        "rooms": calls // 2 if rooms else 0,
        "real_seconds": round(elapsed, 1),
        "virtual_seconds": round(virtual),
        "calls_at_once": most,
        "webhooks": simulator.exchange.webhooks.sent,
        "memory_start_mb": round(before),
        "memory_peak_first_half_mb": round(max(peaks[:half], default=before)),
        "memory_peak_mb": round(max(peaks, default=before)),
        "cpu_seconds": round(resource.getrusage(resource.RUSAGE_SELF).ru_utime, 1),
        "crashes": crashes,
        "debugger": {str(code): count for code, count in warnings.items()},
        **result,
    }


def _resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def faults(figures: dict[str, Any]) -> list[str]:
    """The faults of a run; empty when every call went as expected."""
    calls, seconds = figures["calls"], figures["call_seconds"]
    expected = dict.fromkeys(("initiated", "ringing", "in-progress", "completed"), calls)
    if figures["rooms"]:
        expected |= {"participant-join": calls, "conference-end": calls // 2}
    wrong = [
        f"{figures['events'].get(word, 0)} of {count} {word}"
        for word, count in expected.items()
        if figures["events"].get(word) != count
    ]
    # The second participant of a room leaves with the first, so no call in a room may be longer.
    lengths = {int(length) for length in figures["durations"]}
    if figures["rooms"]:
        if max(lengths) > seconds:
            wrong.append(f"a call lasted {max(lengths)} s")
    elif lengths != {seconds}:
        wrong.append(f"calls lasted {sorted(lengths)} s instead of {seconds} s")
    return [*wrong, *figures["crashes"]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.local.carrier.load", description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--rooms", action="store_true", help="two calls to a conference")
    parser.add_argument("--speed", type=float, default=60.0, help="at most so much faster")
    parser.add_argument("--keep", type=int, default=2_000, help="ended calls kept in memory")
    options = parser.parse_args()
    figures = measure(
        options.calls,
        options.seconds,
        rooms=options.rooms,
        keep=options.keep,
        speed=options.speed,
    )
    print(json.dumps(figures, indent=1))
    wrong = faults(figures)
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
