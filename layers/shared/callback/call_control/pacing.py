"""Send each create request at its departure time (see `departures`).

A departure within LONGEST_SLEEP is waited for in place. A later one is waited for in a queue: a
message with a delay says which leg is to be dialed, and the function that waited returns. The leg
is claimed only when its departure has come.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from callback import clock
from callback.lifecycle.models import Step
from callback.storage.departures import LATENESS, Departure, Departures, to_time, to_us

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# Book a departure so far ahead: the claim has to be written before the request is sent.
LEAD = timedelta(milliseconds=30)

# SQS delays by whole seconds, and two requests at one call a second are 1.02 s apart.
LONGEST_SLEEP = timedelta(seconds=1.1)

_LONGEST_DELAY = 900  # seconds (SQS API reference, SendMessage)
_MOST_MESSAGES = 10  # in one request (SQS API reference, SendMessageBatch)
_MOST_HOPS = 3

# `plan_departures` runs so often. Until its next run, waiting callbacks bring their own messages.
PLAN_EVERY = timedelta(minutes=1)

# A message: the first leg of a waiting callback may depart.
FIRST_LEG = json.dumps({"kind": "first"})


class LegDeparture(NamedTuple):
    """A message: dial the planned legs of this step at the departure. Without one, book one at
    `not_before`. `hops` counts its ways through the queue."""

    callback_id: str
    step: Step
    departure: Departure | None
    not_before: datetime
    hops: int = 1

    def to_text(self) -> str:
        return json.dumps(
            {
                "kind": "leg",
                "callback_id": self.callback_id,
                "step": self.step,
                "departure": self.departure,
                "not_before_us": to_us(self.not_before),
                "hops": self.hops,
            }
        )

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> "LegDeparture":
        departure = message["departure"]
        return cls(
            message["callback_id"],
            Step(message["step"]),
            Departure(*departure) if departure else None,
            to_time(message["not_before_us"]),
            message["hops"],
        )


class Pace:
    """Departures of create requests, and the queue in which legs wait for theirs.

    The queue's client is created at first use: most invocations never need it.
    """

    def __init__(
        self, departures: Departures, client: "Callable[[], SQSClient]", queue_url: str
    ) -> None:
        self.departures = departures
        self._client = client
        self._queue_url = queue_url

    def book(self, requests: int = 1) -> Departure:
        """The next departures, however far ahead. Raises StoreContended."""
        return self.departures.book(clock.now() + LEAD, requests)

    def take(self, requests: int = 1, *, is_new: bool = False) -> tuple[Departure | None, datetime]:
        """The next departures if they are soon, else None; and the next free departure.

        `is_new`: for a callback that does not wait yet."""
        return self.departures.take(clock.now() + LEAD, requests, is_new=is_new)

    def is_near(self, departure: Departure) -> bool:
        """Whether it is so soon that its sender waits in place."""
        return departure.at - clock.now() <= LONGEST_SLEEP

    def wait_for_claim(self, departure: Departure) -> None:
        """Wait until shortly before a near departure: then the leg is claimed."""
        _sleep_until(departure.at - LEAD)

    def on_time(self, departure: Departure) -> Departure | None:
        """Wait for a near departure. Returns it once its time has come.

        A sender that is too late has its departure moved to the present, or books another one.
        None: the other one is not near. It is lost.
        """
        while self.is_near(departure):
            _sleep_until(departure.at)
            now = clock.now()
            if now - departure.at <= LATENESS:
                return departure
            moved = self.departures.postpone(departure, now)
            departure = moved or self.departures.book(now, departure.requests)
        return None

    def wait_in_queue(self, leg: LegDeparture) -> None:
        """Send the message that dials the leg at its departure or, without one, at `not_before`."""
        at = leg.departure.at - LEAD if leg.departure else leg.not_before
        # The rest of a second is waited for in place.
        self._send(leg.to_text(), int(_seconds_until(at)))

    def offer_first_legs(self, delays: Sequence[int]) -> None:
        """Send a message for each delay, in seconds. At its arrival, the first leg of whichever
        callback is the next one departs. A message that is lost or comes twice does no harm."""
        for begin in range(0, len(delays), _MOST_MESSAGES):
            self._client().send_message_batch(
                QueueUrl=self._queue_url,
                Entries=[
                    {"Id": str(number), "MessageBody": FIRST_LEG, "DelaySeconds": delay}
                    for number, delay in enumerate(delays[begin : begin + _MOST_MESSAGES])
                ],
            )

    def offer_first_leg(self, at: datetime) -> None:
        """Send one such message, which arrives at `at`."""
        self._send(FIRST_LEG, math.ceil(_seconds_until(at)))

    def _send(self, message: str, seconds: int) -> None:
        self._client().send_message(
            QueueUrl=self._queue_url,
            MessageBody=message,
            DelaySeconds=min(_LONGEST_DELAY, max(0, seconds)),
        )

    def is_exhausted(self, leg: LegDeparture) -> bool:
        return leg.hops >= _MOST_HOPS


def _sleep_until(at: datetime) -> None:
    seconds = _seconds_until(at)
    if seconds > 0:
        time.sleep(seconds)


def _seconds_until(at: datetime) -> float:
    return (at - clock.now()) / timedelta(seconds=1)
