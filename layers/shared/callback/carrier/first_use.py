"""A carrier that is made when it is first asked for something.

A carrier's client loads an HTTP library and the carrier's SDK. Most invocations of most functions
send the carrier nothing: reading, canceling and listing, closing a callback whose calls have ended.
"""

from collections.abc import Callable
from datetime import datetime
from functools import cached_property

from callback.carrier.port import Carrier, DialResult
from callback.lifecycle.models import Callback, Leg, LegName, LegStatus
from callback.lifecycle.transitions import LegEvent


class CarrierAtFirstUse:
    """`make` imports and makes the carrier. It is called once, by `ready` at the latest: no time of
    a leg's claim goes into it."""

    def __init__(self, make: Callable[[], Carrier]) -> None:
        self._make = make

    @cached_property
    def carrier(self) -> Carrier:
        return self._make()

    def ready(self) -> bool:
        return self.carrier.ready()

    def dial(self, callback: Callback, name: LegName) -> DialResult:
        return self.carrier.dial(callback, name)

    def end(self, call_sid: str, sentence: str | None = None) -> LegEvent:
        return self.carrier.end(call_sid, sentence)

    def fetch(self, call_sid: str) -> LegEvent:
        return self.carrier.fetch(call_sid)

    def live_calls(self) -> dict[str, LegStatus]:
        return self.carrier.live_calls()

    def find_calls(self, leg: Leg, since: datetime) -> list[str]:
        return self.carrier.find_calls(leg, since)

    def look_alike(self, leg: Leg, other: Leg) -> bool:
        return self.carrier.look_alike(leg, other)

    def delete_record(self, call_sid: str) -> bool:
        return self.carrier.delete_record(call_sid)
