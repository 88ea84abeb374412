"""Repair open callbacks, once a minute.

Every webhook may be lost. A process may die between any two writes. An execution may disappear.
None of these may leave a callback open, a party alone or a phone ringing. Each run therefore
compares every open callback with the carrier's live calls.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial

from aws_lambda_powertools import Logger

from callback import clock
from callback.call_control.dialing import Calls, legs_to_dial
from callback.call_control.workflow import Workflow
from callback.carrier import queueing
from callback.errors import CallbackNotFound, CarrierUnavailable, StoreContended
from callback.lifecycle import timing, transitions
from callback.lifecycle.models import (
    Callback,
    CallbackStatus,
    CloseReason,
    Leg,
    LegName,
    LegOutcome,
    LegStatus,
)
from callback.lifecycle.transitions import LegEvent
from callback.storage import listings
from callback.storage.departures import Departures

logger = Logger(child=True)

# A callback that changed this recently needs no repair, provided that its execution exists.
_QUIET = timedelta(seconds=15)

# A call that the carrier does not list this long after its create request was never created.
_ABSENT_AFTER = timedelta(seconds=45)

# Keep an ended callback listed this long: while we search for another leg's unconfirmed call, this
# callback's call must not be adopted. A search goes on until _ABSENT_AFTER. A run starts every
# minute and may take as long.
_LISTED_AFTER_END = timedelta(minutes=5)

# A callback lasts at most two ringing legs, the conversation, and this for the workflow.
_SLACK = timedelta(minutes=5)


@dataclass
class Tally:
    """Counts of one run. `open`: callbacks that have not ended. `mended`: those of them that were
    checked. `unasked`: checks that failed on CarrierUnavailable or StoreContended."""

    open: int = 0
    mended: int = 0
    unasked: int = 0


@dataclass(frozen=True)
class Reconciliation:
    """One run."""

    calls: Calls
    workflow: Workflow
    departures: Departures

    @cached_property
    def _live(self) -> dict[str, LegStatus]:
        """The carrier's live calls, requested at most once a run."""
        return self.calls.carrier.live_calls()

    def run(self) -> Tally:
        """Check every open callback once. A lowered rate of calls is raised again, in time."""
        self.departures.restore(clock.now())
        tally = Tally()
        for callback in listings.read_open(self.calls.store):
            try:
                self._check(callback, tally)
            except (CarrierUnavailable, StoreContended):  # the next run tries again
                tally.unasked += 1
            except CallbackNotFound:  # erased since the list was read
                continue
        return tally

    def _check(self, callback: Callback, tally: Tally) -> None:
        store = self.calls.store
        if callback.status is CallbackStatus.ENDED:
            if store.release(callback) and _ended_long_ago(callback):
                listings.forget_open(store, callback)
            return
        tally.open += 1
        if transitions.is_waiting(callback):  # `plan_departures` looks after it
            return
        if callback.waiting is None or _is_quiet(callback):
            tally.mended += 1
            # Read it again: the page is older by the time that earlier callbacks took.
            self._mend(store.get(callback.callback_id))

    def _mend(self, callback: Callback) -> None:
        now = clock.now()
        for name in LegName if _is_quiet(callback) else ():
            callback = self._update_leg(callback, name, now)
        if transitions.over(callback) or now > _latest_end(callback):
            reason = None if transitions.over(callback) else CloseReason.TIMED_OUT
            callback = self.calls.close(callback.callback_id, reason)
        elif callback.waiting is None:
            self.workflow.start(callback)
        elif legs_to_dial(callback, callback.waiting.step):
            self.workflow.dial_again(callback)
        self.workflow.settle(callback)

    def _update_leg(self, callback: Callback, name: LegName, now: datetime) -> Callback:
        """Record what the carrier reports about this leg's call, if the leg has not ended."""
        leg = callback.leg(name)
        if leg.ended or leg.status is LegStatus.PLANNED:
            return callback
        if leg.call_sid is None:
            call_sid, is_absent = self._find_unconfirmed_call(callback, leg)
            event = self.calls.carrier.fetch(call_sid) if call_sid else None
        else:
            event, is_absent = self._find_missed_event(callback, leg, now), False
        change: Callable[[Callback], Callback | None]
        if event:
            change = partial(transitions.record, name=name, attempt=leg.attempt, event=event)
        elif is_absent:
            change = partial(transitions.give_up, name=name, attempt=leg.attempt, now=clock.now())
        else:
            return callback
        return self.calls.store.change(callback.callback_id, change)[0]

    def _find_missed_event(self, callback: Callback, leg: Leg, now: datetime) -> LegEvent | None:
        """The event that the leg's webhooks should have reported. The leg's `call_sid` is known."""
        call_sid, carrier = leg.call_sid or "", self.calls.carrier
        if call_sid not in self._live:
            return carrier.fetch(call_sid)
        if self._live[call_sid] is LegStatus.QUEUED:
            queueing.slow_down_if_queued(self.departures, leg, now, callback.callback_id)
        # The carrier may hold a call in its queue for hours. By then nobody wants it.
        is_late = leg.status in (LegStatus.QUEUED, LegStatus.RINGING) and now > _ring_deadline(leg)
        was_admitted = leg.admitted_at is not None and now - leg.admitted_at > _QUIET
        if not is_late and not (leg.status is LegStatus.ANSWERED and was_admitted):
            return None
        event = carrier.fetch(call_sid)  # the list of live calls is as old as this run
        if event.status in (LegStatus.QUEUED, LegStatus.RINGING):
            return carrier.end(call_sid)
        if event.status is LegStatus.ANSWERED and leg.admitted_at:
            # The fence admitted the call to the room and it is live: only its join is unreported.
            return LegEvent(LegStatus.JOINED, at=leg.admitted_at, call_sid=call_sid)
        return event

    def _find_unconfirmed_call(self, callback: Callback, leg: Leg) -> tuple[str | None, bool]:
        """(the call_sid of the call of a create request whose response was lost, whether there is
        certainly no such call).

        Searches the carrier's list for calls to this party created since the claim. Never adopts a
        call that another callback owns, of any tenant: all tenants share the carrier's account.

        Adopts none either if another callback may have requested one without knowing its
        `call_sid`. The leg stays open then, and the call's own webhooks tell which leg it is.
        Otherwise adopts the earliest: the fence keeps out any other.
        """
        if leg.dialed_at is None:
            return None, False
        carrier = self.calls.carrier
        call_sids = carrier.find_calls(leg, since=leg.dialed_at)
        # Read after the search: a callback that requested one of these has claimed its leg by now.
        others = [
            other
            for listed in (listings.read_open(self.calls.store) if call_sids else ())
            if listed.callback_id != callback.callback_id
            for other in listed.legs
        ]
        owned = {other.call_sid for other in others}
        free = [call_sid for call_sid in call_sids if call_sid not in owned]
        if not free:
            return None, clock.now() - leg.dialed_at > _ABSENT_AFTER
        if any(self._may_have_requested(other, leg) for other in others):
            logger.warning(
                "a call may belong to either of two legs", callback_id=callback.callback_id
            )
            return None, False
        return free[0], False

    def _may_have_requested(self, other: Leg, leg: Leg) -> bool:
        """Whether the other leg, whose call is unknown, may have requested one like this leg's."""
        if other.call_sid or other.dialed_at is None or other.outcome is LegOutcome.REJECTED:
            return False
        is_long_before = leg.dialed_at is not None and transitions.claim_expired(
            other, leg.dialed_at
        )
        return not is_long_before and self.calls.carrier.look_alike(leg, other)


def _ended_long_ago(callback: Callback) -> bool:
    return clock.now() - _last_change(callback) > _LISTED_AFTER_END


def _is_quiet(callback: Callback) -> bool:
    return clock.now() - _last_change(callback) > _QUIET


def _last_change(callback: Callback) -> datetime:
    return max(at for at in (_started_at(callback), *map(_last_event_at, callback.legs)) if at)


def _last_event_at(leg: Leg) -> datetime | None:
    return leg.ended_at or leg.joined_at or leg.answered_at or leg.ringing_at or leg.dialed_at


def _ring_deadline(leg: Leg) -> datetime:
    return (leg.dialed_at or clock.now()) + timing.ring_deadline(leg)


def _latest_end(callback: Callback) -> datetime:
    bounds = sum(
        (timing.ring_bound(leg) for leg in callback.legs),
        timedelta(seconds=callback.max_duration_seconds),
    )
    return _started_at(callback) + bounds + _SLACK


def _started_at(callback: Callback) -> datetime:
    return callback.started_at or callback.created_at
