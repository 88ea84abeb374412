"""Every minute: ask the carrier about whatever has gone quiet, and finish what was left.

Webhooks may all be lost, a process may die between any two writes, an execution may be gone.
None of it may leave a callback open, a party alone or a phone ringing, so this walks over every
open callback and compares it with what the carrier says is live.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial

from callback import carrier_queue, clock, closing, plan, transitions
from callback.dialer import Dialer
from callback.errors import CallbackNotFound, CarrierUnavailable, StoreContended
from callback.models import Callback, CallbackStatus, CloseReason, Leg, LegName, LegStatus
from callback.store import CallbackStore
from callback.transitions import LegEvent
from callback.workflow import Workflow

# A callback that changed a moment ago is in good hands, if there is an execution to hold it.
_QUIET = timedelta(seconds=15)

# A call that the carrier does not list so long after its create request was never made.
_ABSENT_AFTER = timedelta(seconds=45)

# Whose a call is must be known for as long as it could be taken for the lost one of a leg: that is
# looked for until it is absent, in a run every minute that may take as long.
_KNOWN_AFTER_ITS_END = timedelta(minutes=5)

# Two legs ringing, the conversation, and what the workflow adds: nothing lives longer.
_SLACK = timedelta(minutes=5)


class _Carrier:
    """What the carrier says, asked for at most once a run where one answer serves all."""

    def __init__(self, dialer: Dialer) -> None:
        self.dialer = dialer

    @cached_property
    def live(self) -> dict[str, str]:
        return self.dialer.live_calls()


@dataclass
class Tally:
    """How many callbacks a run looked at, looked into, and could not ask the carrier about."""

    open: int = 0
    mended: int = 0
    unasked: int = 0


def run(store: CallbackStore, dialer: Dialer, workflow: Workflow) -> Tally:
    """Look at every open callback once."""
    carrier, tally = _Carrier(dialer), Tally()
    for callback in store.open():
        if callback.status is CallbackStatus.ENDED:
            if store.release(callback) and _is_long_ago(callback):
                store.forget_open(callback)
            continue
        tally.open += 1
        if callback.waiting is None or transitions.over(callback) or _quiet(callback):
            tally.mended += 1
            try:
                _mend(store, carrier, workflow, callback)
            except (CarrierUnavailable, StoreContended):  # the next run asks again
                tally.unasked += 1
            except CallbackNotFound:  # erased since the list was read
                continue
    return tally


def _is_long_ago(callback: Callback) -> bool:
    return clock.now() - _last_change(callback) > _KNOWN_AFTER_ITS_END


def _mend(
    store: CallbackStore,
    carrier: _Carrier,
    workflow: Workflow,
    callback: Callback,
) -> None:
    now = clock.now()
    for name in LegName if _quiet(callback) else ():
        callback = _ask_about(store, carrier, callback, name, now)
    if transitions.over(callback) or now > _must_be_over_by(callback):
        reason = None if transitions.over(callback) else CloseReason.TIMED_OUT
        callback = closing.close(store, carrier.dialer, callback.callback_id, reason)
    elif callback.waiting is None:
        workflow.start(callback)
    workflow.settle(callback)


def _ask_about(
    store: CallbackStore, carrier: _Carrier, callback: Callback, name: LegName, now: datetime
) -> Callback:
    leg = callback.leg(name)
    if leg.ended or leg.status is LegStatus.PLANNED:
        return callback
    event = _news(store, carrier, callback, leg, now)
    if event is None:
        return callback
    change = partial(transitions.record, name=name, attempt=leg.attempt, event=event)
    return store.change(callback.callback_id, change)[0]


def _news(
    store: CallbackStore, carrier: _Carrier, callback: Callback, leg: Leg, now: datetime
) -> LegEvent | None:
    """What the carrier's side of a leg tells that its webhooks did not."""
    call_sid = leg.call_sid or _adoptable(store, carrier, leg)
    if call_sid is None:
        return transitions.never_made(now) if _absent(leg, now) else None
    if call_sid not in carrier.live or leg.call_sid is None:
        return carrier.dialer.fetch(call_sid)
    if carrier.live[call_sid] == "queued":
        carrier_queue.was_queued_until(leg, now, callback.callback_id)
    if leg.status in (LegStatus.QUEUED, LegStatus.RINGING) and now > _ring_deadline(leg):
        # The carrier may hold a call in its queue for hours; nobody wants it by then.
        return carrier.dialer.end(call_sid)
    if leg.status is LegStatus.ANSWERED and leg.admitted_at and now - leg.admitted_at > _QUIET:
        # We sent it into the room, and it is live: that it joined is what nobody told.
        return LegEvent(LegStatus.JOINED, at=leg.admitted_at, call_sid=call_sid)
    return None


def _absent(leg: Leg, now: datetime) -> bool:
    return leg.dialed_at is not None and now - leg.dialed_at > _ABSENT_AFTER


def _quiet(callback: Callback) -> bool:
    return clock.now() - _last_change(callback) > _QUIET


def _adoptable(store: CallbackStore, carrier: _Carrier, leg: Leg) -> str | None:
    """The call of a create request whose answer was lost, if the carrier has made one.

    The carrier's list is searched for calls to this party made since the claim; one that
    another callback owns, whoever's, is not ours: all tenants share the carrier's account. The
    earliest wins: the fence keeps out any other.
    """
    if leg.dialed_at is None:
        return None
    found = carrier.dialer.find_calls(leg, since=leg.dialed_at)
    if not found:
        return None
    owned = {other.call_sid for known in store.open() for other in known.legs}
    return next((sid for sid in found if sid not in owned), None)


def _last_change(callback: Callback) -> datetime:
    return max(at for at in (callback.created_at, *map(_told_at, callback.legs)) if at)


def _told_at(leg: Leg) -> datetime | None:
    return leg.ended_at or leg.joined_at or leg.answered_at or leg.ringing_at or leg.dialed_at


def _ring_deadline(leg: Leg) -> datetime:
    return (leg.dialed_at or clock.now()) + plan.ring_deadline(leg)


def _must_be_over_by(callback: Callback) -> datetime:
    bounds = sum(
        (plan.ring_bound(leg) for leg in callback.legs),
        timedelta(seconds=callback.max_duration_seconds),
    )
    return callback.created_at + bounds + _SLACK
