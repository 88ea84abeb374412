"""Every minute: ask the carrier about whatever has gone quiet, and finish what was left.

Webhooks may all be lost, a process may die between any two writes, an execution may be gone.
None of it may leave a callback open, a party alone or a phone ringing, so this walks over every
open callback and compares it with what the carrier says is live.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial

from aws_lambda_powertools import Logger

from callback import clock
from callback.call_control.dialing import Calls, still_to_dial
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

logger = Logger(child=True)

# A callback that changed a moment ago is in good hands, if there is an execution to hold it.
_QUIET = timedelta(seconds=15)

# A call that the carrier does not list so long after its create request was never made.
_ABSENT_AFTER = timedelta(seconds=45)

# Whose a call is must be known for as long as it could be taken for the lost one of a leg: that is
# looked for until it is absent, in a run every minute that may take as long.
_KNOWN_AFTER_ITS_END = timedelta(minutes=5)

# Two legs ringing, the conversation, and what the workflow adds: nothing lives longer.
_SLACK = timedelta(minutes=5)


@dataclass
class Tally:
    """How many callbacks a run looked at, looked into, and could not ask the carrier about."""

    open: int = 0
    mended: int = 0
    unasked: int = 0


@dataclass(frozen=True)
class Reconciliation:
    """One run."""

    calls: Calls
    workflow: Workflow

    @cached_property
    def _live(self) -> dict[str, LegStatus]:
        """What the carrier says is live, asked for at most once a run."""
        return self.calls.carrier.live_calls()

    def run(self) -> Tally:
        """Look at every open callback once."""
        store, tally = self.calls.store, Tally()
        for callback in listings.read_open(store):
            if callback.status is CallbackStatus.ENDED:
                if store.release(callback) and _is_long_ago(callback):
                    listings.forget_open(store, callback)
                continue
            tally.open += 1
            if callback.waiting is None or _quiet(callback):
                tally.mended += 1
                try:
                    # A page of them is read at once, and those before may have taken a minute.
                    self._mend(store.get(callback.callback_id))
                except (CarrierUnavailable, StoreContended):  # the next run asks again
                    tally.unasked += 1
                except CallbackNotFound:  # erased since the list was read
                    continue
        return tally

    def _mend(self, callback: Callback) -> None:
        now = clock.now()
        for name in LegName if _quiet(callback) else ():
            callback = self._ask_about(callback, name, now)
        if transitions.over(callback) or now > _must_be_over_by(callback):
            reason = None if transitions.over(callback) else CloseReason.TIMED_OUT
            callback = self.calls.close(callback.callback_id, reason)
        elif callback.waiting is None:
            self.workflow.start(callback)
        elif still_to_dial(callback, callback.waiting.step):
            self.workflow.dial_again(callback)
        self.workflow.settle(callback)

    def _ask_about(self, callback: Callback, name: LegName, now: datetime) -> Callback:
        leg = callback.leg(name)
        if leg.ended or leg.status is LegStatus.PLANNED:
            return callback
        is_known = leg.call_sid is not None
        event = self._news(callback, leg, now) if is_known else self._found(callback, leg)
        if event is None:
            return callback
        change = partial(transitions.record, name=name, attempt=leg.attempt, event=event)
        return self.calls.store.change(callback.callback_id, change)[0]

    def _news(self, callback: Callback, leg: Leg, now: datetime) -> LegEvent | None:
        """What the carrier's side of a leg whose call is known tells that its webhooks did not."""
        call_sid, carrier = leg.call_sid or "", self.calls.carrier
        if call_sid not in self._live:
            return carrier.fetch(call_sid)
        if self._live[call_sid] is LegStatus.QUEUED:
            queueing.was_queued_until(leg, now, callback.callback_id)
        # The carrier may hold a call in its queue for hours; nobody wants it by then.
        is_late = leg.status in (LegStatus.QUEUED, LegStatus.RINGING) and now > _ring_deadline(leg)
        was_sent_in = leg.admitted_at is not None and now - leg.admitted_at > _QUIET
        if not is_late and not (leg.status is LegStatus.ANSWERED and was_sent_in):
            return None
        event = carrier.fetch(call_sid)  # the list is as old as this run
        if event.status in (LegStatus.QUEUED, LegStatus.RINGING):
            return carrier.end(call_sid)
        if event.status is LegStatus.ANSWERED and leg.admitted_at:
            # We sent it into the room, and it is live: that it joined is what nobody told.
            return LegEvent(LegStatus.JOINED, at=leg.admitted_at, call_sid=call_sid)
        return event

    def _found(self, callback: Callback, leg: Leg) -> LegEvent | None:
        """What became of a create request whose answer was lost: the carrier's list is searched
        for calls to this party made since the claim.

        One that another callback owns, whoever's, is not ours: all tenants share the carrier's
        account. Nor is one that another may have asked for without knowing of it yet: none is
        taken then, and the leg is not given up; the call's own requests tell whose it is.
        Otherwise the earliest is taken: the fence keeps out any other.
        """
        if leg.dialed_at is None:
            return None
        carrier = self.calls.carrier
        found = carrier.find_calls(leg, since=leg.dialed_at)
        # Read after the search: whoever may have asked for one of them has claimed its leg by now.
        others = [
            other
            for known in (listings.read_open(self.calls.store) if found else ())
            if known.callback_id != callback.callback_id
            for other in known.legs
        ]
        owned = {other.call_sid for other in others}
        free = [call_sid for call_sid in found if call_sid not in owned]
        if not free:
            now = clock.now()
            return transitions.never_made(now) if now - leg.dialed_at > _ABSENT_AFTER else None
        if any(self._may_have_asked_for(other, leg) for other in others):
            logger.warning("a call may be one of two legs'", callback_id=callback.callback_id)
            return None
        return carrier.fetch(free[0])

    def _may_have_asked_for(self, other: Leg, leg: Leg) -> bool:
        """Whether a leg of which no call is known has asked for one that looks like this leg's."""
        if other.call_sid or other.dialed_at is None or other.outcome is LegOutcome.REJECTED:
            return False
        is_long_before = leg.dialed_at is not None and transitions.claim_expired(
            other, leg.dialed_at
        )
        return not is_long_before and self.calls.carrier.look_alike(leg, other)


def _is_long_ago(callback: Callback) -> bool:
    return clock.now() - _last_change(callback) > _KNOWN_AFTER_ITS_END


def _quiet(callback: Callback) -> bool:
    return clock.now() - _last_change(callback) > _QUIET


def _last_change(callback: Callback) -> datetime:
    return max(at for at in (callback.created_at, *map(_told_at, callback.legs)) if at)


def _told_at(leg: Leg) -> datetime | None:
    return leg.ended_at or leg.joined_at or leg.answered_at or leg.ringing_at or leg.dialed_at


def _ring_deadline(leg: Leg) -> datetime:
    return (leg.dialed_at or clock.now()) + timing.ring_deadline(leg)


def _must_be_over_by(callback: Callback) -> datetime:
    bounds = sum(
        (timing.ring_bound(leg) for leg in callback.legs),
        timedelta(seconds=callback.max_duration_seconds),
    )
    return callback.created_at + bounds + _SLACK
