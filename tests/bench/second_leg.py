"""Measure the delay from A to B's call: PYTHONPATH=layers/shared python -m tests.bench.second_leg

The delay ends when B's create request reaches the carrier. It is measured twice: from A's answer,
and from A's joining the room, in real milliseconds on this machine. The whole service runs in this
process, with moto's Step Functions. Everything else (ringing, talking) runs on a fast clock.
"""

import argparse
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import requests

from callback.lifecycle import transitions
from tests.local import loopback
from tests.local.carrier import Scripts, Settings
from tests.local.carrier.scripts import Behaviour
from tests.local.stack import LocalStack

# Virtual seconds per real second. A faster clock would also shorten the service's own deadlines:
# a claim that is not used within 15 virtual seconds is given up.
SPEED = 4.0
PARALLEL = 2  # callbacks at a time
PATIENCE_SECONDS = 60.0  # real ones, for one callback

BODY = {"leg_A": {"to": "1000401"}, "leg_B": {"to": "1000402"}, "allow_parallel": True}
PARTIES = {
    # A answers after a second. By then the workflow waits for that answer.
    "1000401": Behaviour("waits for B", answer_after=1.0, stay_at_most=3600.0),
    "1000402": Behaviour("says hello", answer_after=0.0, hang_up_after_joined=0.5),
}

ANSWERED, JOINED, CREATED, OVER = "A answered", "A joined", "B created", "B over"
_MOMENTS = {
    ("A", "call.in-progress"): ANSWERED,
    ("A", "conference.join"): JOINED,
    ("B", "call.queued"): CREATED,
    ("B", "call.completed"): OVER,
}


class NotMeasured(Exception):
    """A callback did not end within PATIENCE_SECONDS."""


class Moments:
    """The time of each event at the carrier, by callback, in real seconds."""

    def __init__(self, url_of: Callable[[str], str | None]) -> None:
        self._url_of = url_of
        self._at: dict[str, dict[str, float]] = defaultdict(dict)
        self._changed = threading.Condition()

    def record_event(self, event: dict[str, Any]) -> None:
        """Record an event. The simulator calls this in its own thread, without delay."""
        now = time.perf_counter()
        url = self._url_of(event["subject"])
        if url is None:
            return
        callback_id, leg, _ = urlsplit(url).path.split("/")[-3:]  # the URL of its create request
        if moment := _MOMENTS.get((leg, event["kind"])):
            with self._changed:
                self._at[callback_id].setdefault(moment, now)
                self._changed.notify_all()

    def pop_moments(self, callback_id: str) -> dict[str, float]:
        """Wait until a callback is over, and remove and return its moments. Raises NotMeasured."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: OVER in self._at[callback_id], timeout=PATIENCE_SECONDS
            ):
                raise NotMeasured(f"only {sorted(self._at[callback_id])}")
            return self._at.pop(callback_id)


def measure(
    callbacks: int, speed: float = SPEED, parallel: int = PARALLEL
) -> list[dict[str, float]]:
    """Run the callbacks and return their moments. Raises NotMeasured, or NotLoopback before any
    call."""
    settings = Settings(calls_per_second=1000.0, keep_ended=200)
    scripts = Scripts()
    for party, behaviour in PARTIES.items():
        scripts.set(party, behaviour)
    with LocalStack(speed=speed, environ={}, carrier_settings=settings, scripts=scripts) as stack:
        assert stack.carrier is not None
        for url in (stack.url, stack.carrier_url):
            if not loopback.is_loopback_url(url):
                raise loopback.NotLoopback(url)
        calls = stack.carrier.exchange.calls
        moments = Moments(lambda sid: calls[sid].options.source.url if sid in calls else None)
        stack.carrier.call(lambda: stack.carrier.subscribe(moments.record_event))

        def one(_: int) -> dict[str, float]:
            key = {"Authorization": f"Bearer {stack.key}"}
            url = f"{stack.url}/voice/call/callback"
            answer = requests.post(url, json=BODY, headers=key)
            answer.raise_for_status()
            callback_id = answer.json()["callback_id"]
            try:
                return moments.pop_moments(callback_id)
            except NotMeasured as error:
                record = requests.get(f"{stack.url}/voice/call/callback/{callback_id}")
                raise NotMeasured(f"{error} of {record.text}; {_deadline(speed)}") from error

        with ThreadPoolExecutor(parallel) as clients:
            return list(clients.map(one, range(callbacks)))


def _deadline(speed: float) -> str:
    """Explain a failure that only the fast clock causes: the machine missed a deadline."""
    real = transitions.DIAL_DEADLINE.total_seconds() / speed
    return (
        f"at x{speed:g} a claim not used within {real:.2f} real seconds is given up:"
        " where the machine was busy for longer, choose a lower --speed"
    )


def milliseconds(seen: list[dict[str, float]], since: str) -> list[float]:
    return sorted(1000 * (moments[CREATED] - moments[since]) for moments in seen)


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def lines(callbacks: int, speed: float = SPEED, parallel: int = PARALLEL) -> list[str]:
    """Measure, and return lines of a table. Raises as `measure`."""
    began = time.monotonic()
    seen = measure(callbacks, speed, parallel)
    took = time.monotonic() - began
    measured = [(since, milliseconds(seen, since)) for since in (ANSWERED, JOINED)]
    return [
        *(
            f"{since} -> {CREATED}: p50 {percentile(values, 50):.0f} ms,"
            f" p99 {percentile(values, 99):.0f} ms, slowest {values[-1]:.0f} ms"
            for since, values in measured
        ),
        f"{len(seen)} callbacks, {parallel} at a time, clock x{speed:g}, {took:.0f} s",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the delay from A's answer to B's call.")
    parser.add_argument("--callbacks", type=int, default=1000)
    parser.add_argument("--speed", type=float, default=SPEED)
    parser.add_argument("--parallel", type=int, default=PARALLEL)
    arguments = parser.parse_args()
    print(*lines(arguments.callbacks, arguments.speed, arguments.parallel), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
