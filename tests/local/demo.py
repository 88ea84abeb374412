"""`python -m tests.local.demo`: one callback between two simulated parties, as it happens.

Exits with 0 if both have talked to each other and hung up, else with 1 and the reason.
"""

import argparse
import contextlib
import heapq
import http.client
import importlib
import itertools
import json
import queue
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.local import arguments
from tests.local.interruption import Interruption

if TYPE_CHECKING:
    from tests.local.stack import LocalStack

REQUEST = {
    "leg_A": {"to": "1000123", "from": "1000125"},
    "leg_B": {"to": "1000125", "from": "1000123"},
}
PATH = "/voice/call/callback"
# Virtual seconds after which the demo gives up. The callback itself takes some thirty.
PATIENCE = 600.0
# Real seconds within which an event reaches the demo's queue, even on a busy machine.
_EVENT_SECONDS = 0.1

_CALL_WORDS = {
    "call.queued": "dialed",
    "call.ringing": "ringing",
    "call.in-progress": "answered",
    "call.completed": "call is over",
    "call.busy": "busy",
    "call.no-answer": "did not answer",
    "call.failed": "could not be reached",
    "call.canceled": "canceled",
    "conference.join": "joined the room",
    "conference.leave": "left the room",
    "party.hangs-up": "hangs up",
}


# The call's events already report the sounds of a party's own telephone.
_OWN_SOUNDS = ("phone rings", "picks up")


class Api:
    """The service's API, as any client sees it."""

    def __init__(self, url: str, key: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)
        self._authorization = {"Authorization": f"Bearer {key}"}
        self.reads = 0

    def create(self, body: Any) -> tuple[int, str, Any]:
        headers = {"Content-Type": "application/json", **self._authorization}
        self._connection.request("POST", PATH, json.dumps(body), headers)
        response = self._connection.getresponse()
        return response.status, response.headers.get("Location", ""), json.load(response)

    def read(self, location: str) -> dict[str, Any]:
        self.reads += 1
        self._connection.request("GET", location, headers=self._authorization)
        record: dict[str, Any] = json.load(self._connection.getresponse())
        return record

    def close(self) -> None:
        self._connection.close()


class Timeline:
    """Prints each event on a line, in order, with the virtual seconds since the request.

    Events may arrive out of order, so a line waits until the caller of `show` rules out earlier
    ones.
    """

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._legs: dict[str, str] = {}
        self._last: tuple[str, str] | None = None
        self._waiting: list[tuple[datetime, int, str, str]] = []
        self._count = itertools.count()

    def line(self, at: datetime, who: str, what: str) -> None:
        heapq.heappush(self._waiting, (at, next(self._count), who, what))

    def show(self, until: datetime | None = None) -> None:
        """Print the lines up to the moment `until`, or all lines."""
        while self._waiting and (until is None or self._waiting[0][0] <= until):
            at, _, who, what = heapq.heappop(self._waiting)
            # Print a repeated sound only once.
            if (who, what) != self._last:
                self._last = (who, what)
                print(f"{(at - self._start).total_seconds():8.2f} s  {who:<7}  {what}", flush=True)

    def carrier_event(self, event: dict[str, Any]) -> None:
        """Add a line for an event of the simulator that concerns a leg."""
        kind, subject = event["kind"], event["subject"]
        if kind == "call.queued":
            party = re.sub(r"^sip:|@.*$", "", event["to"])
            self._legs[subject] = next(
                (name[-1] for name, leg in REQUEST.items() if leg["to"] == party), "?"
            )
        if kind == "conference.start":
            self.line(event["at"], "A and B", "connected: they hear each other")
        leg = self._legs.get(subject)
        if leg is None:
            return
        if kind == "hears" and not event["text"].startswith(_OWN_SOUNDS):
            self.line(event["at"], f"leg {leg}", f"hears {event['text']}")
        elif kind in _CALL_WORDS:
            detail = f" ({event['to']})" if kind == "call.queued" else ""
            self.line(event["at"], f"leg {leg}", _CALL_WORDS[kind] + detail)


def run(speed: float) -> int:
    """Run the demo. Returns its exit status."""
    # These imports take seconds, so they come only now.
    start = importlib.import_module("tests.local.stack").LocalStack
    stack: LocalStack
    with start(speed) as stack, contextlib.closing(Api(stack.url, stack.key)) as api:
        if stack.carrier is None:
            print("The demo needs the simulated carrier; unset CARRIER_API_URL.", file=sys.stderr)
            return 1
        events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        stack.carrier.call(stack.carrier.subscribe, events.put)

        print(f"{arguments.pace(stack.clock.speed)}.\n")
        print(f"POST {stack.url}{PATH}\nAuthorization: Bearer {stack.key}\n{json.dumps(REQUEST)}\n")
        timeline = Timeline(stack.clock.now())
        status, location, answer = api.create(REQUEST)
        print(f"HTTP {status}\nLocation: {location}\n{json.dumps(answer, indent=2)}\n")
        if status != 202:
            print("The callback was not accepted.", file=sys.stderr)
            return 1
        record = _follow(stack, api, location, answer, events, timeline)
        print(f"\nGET {stack.url}{location}\n{json.dumps(record, indent=2)}\n")
        _print_cost(stack, api, record["callback_id"])
    if record["outcome"] != "completed":
        print(f"Not completed: {record['outcome'] or record['status']}.", file=sys.stderr)
        return 1
    return 0


def _follow(
    stack: "LocalStack",
    api: Api,
    location: str,
    record: dict[str, Any],
    events: "queue.SimpleQueue[dict[str, Any]]",
    timeline: Timeline,
) -> dict[str, Any]:
    """Print the callback's life from `record` to its end. Returns the last record."""
    deadline = stack.clock.seconds() + PATIENCE
    while stack.clock.seconds() < deadline:
        now, late = stack.clock.now(), timedelta(seconds=_EVENT_SECONDS * stack.clock.speed)
        new_events = list(_take(events))
        for event in new_events:
            timeline.carrier_event(event)
        timeline.show(until=now - late)
        # The record can change only after a webhook.
        if new_events and not any(event["kind"] == "webhook" for event in new_events):
            continue
        before, record = record["status"], api.read(location)
        if record["status"] != before:
            timeline.line(stack.clock.now(), "service", f"callback is {record['status']}")
        if not new_events and record["status"] == "ended" and _has_ended(stack, record):
            break
    timeline.show()
    return record


def _take(events: "queue.SimpleQueue[dict[str, Any]]") -> Iterator[dict[str, Any]]:
    """All events in the queue. Waits a moment for the first."""
    with contextlib.suppress(queue.Empty):
        yield events.get(timeout=_EVENT_SECONDS)
        while True:
            yield events.get_nowait()


def _has_ended(stack: "LocalStack", record: dict[str, Any]) -> bool:
    kinds = {event["type"] for event in stack.history(record["callback_id"])}
    return any(kind.startswith("Execution") for kind in kinds - {"ExecutionStarted"})


def _print_cost(stack: "LocalStack", api: Api, callback_id: str) -> None:
    invocations = stack.invocations()
    invocations["CallbackApi"] -= api.reads
    # Count only the POST's authorization: later ones come from the reads below, once its cached
    # result has expired.
    invocations["Authorizer"] = min(1, invocations["Authorizer"])
    each = ", ".join(f"{name} {count}" for name, count in sorted(invocations.items()) if count)
    print(f"Lambda invocations   {sum(invocations.values())} ({each}), without reading the record")
    print(f"billed transitions   {stack.billed_transitions(callback_id)}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.local.demo", description=__doc__)
    parser.add_argument(
        "--speed",
        type=arguments.speed,
        default=10.0,
        help="virtual seconds in a real one (default 10)",
    )
    speed = parser.parse_args(argv).speed
    Interruption(status=1)
    print("starting...", flush=True)
    return run(speed)


if __name__ == "__main__":
    sys.exit(main())
