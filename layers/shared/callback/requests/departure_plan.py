"""Plan the coming minute's departures of waiting callbacks, and end those that waited too long.

Runs once a minute, and costs one query while nobody waits.
"""

from typing import NamedTuple

from callback import clock
from callback.call_control.pacing import PLAN_EVERY, Pace
from callback.lifecycle.models import CloseReason, WaitingFor
from callback.requests.expiry import end_waiting
from callback.storage.callbacks import CallbackStore
from callback.storage.waiting_line import WaitingLine

# Messages for each waiting callback: one may find that a second leg has taken the departure.
_OFFERS = 2


class Tally(NamedTuple):
    """Counts of one run: callbacks that wait, those that expired, and messages sent."""

    waiting: int
    expired: int
    offers: int


def plan_minute(store: CallbackStore, pace: Pace) -> Tally:
    """Send the messages that start waiting callbacks, spread over the coming minute."""
    line, now = WaitingLine(store), clock.now()
    tenants = line.tenants()
    waiting = expired = for_departure = 0
    for tenant in tenants:
        is_empty = True
        for callback in line.callbacks(tenant.name):
            if callback.start_by and callback.start_by <= now:
                end_waiting(store, callback, CloseReason.EXPIRED)
                expired += 1
                continue
            is_empty = False
            waiting += 1
            for_departure += callback.waiting_for is WaitingFor.DEPARTURE
        if is_empty:
            line.leave(tenant, now)
    if not tenants:
        return Tally(0, 0, 0)
    pace.departures.correct_promises(now, for_departure)
    seconds = PLAN_EVERY.total_seconds()
    offers = min(int(seconds * pace.departures.rate()), _OFFERS * waiting)
    pace.offer_first_legs([int(number * seconds / offers) for number in range(offers)])
    return Tally(waiting, expired, offers)
