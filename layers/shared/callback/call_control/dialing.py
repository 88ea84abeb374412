"""Dial the calls of a callback, each exactly once, and end them.

Dialing a leg takes four steps: claim, send, classify, record. One claim sends one create request.

A claim is a conditional write. Of any number of processes that try to dial a leg, one succeeds.
The write that stores a callback also claims the legs of its first step. A request with an unknown
result is not sent again: its call is adopted from its first webhook, and the fence
(`transitions.answer`) admits one call per leg to the room.

Closing a callback stops every ringing call, leaves no party alone and ends the record. It is safe
to repeat at any moment. The workflow, its safety net and a rejected create request all do it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from aws_lambda_powertools import Logger

from callback import clock, randomness
from callback.call_control.pacing import LEAD, Pace
from callback.carrier.port import Carrier, DialResult, Sent
from callback.errors import CallbackNotFound, CarrierUnavailable
from callback.lifecycle import outcomes, timing, transitions
from callback.lifecycle.models import (
    Callback,
    CloseReason,
    Leg,
    LegName,
    LegOutcome,
    LegStatus,
    Step,
)
from callback.lifecycle.transitions import LegEvent
from callback.storage.callbacks import CallbackStore
from callback.storage.departures import Departure

logger = Logger(child=True)


@dataclass(frozen=True)
class Calls:
    """End the calls of callbacks."""

    store: CallbackStore
    carrier: Carrier

    def close(self, callback_id: str, reason: CloseReason | None = None) -> Callback:
        """End the remaining calls of the callback. Returns the callback afterwards.

        The carrier is requested to end each live call. If it does not yet report the end, the
        call's status webhook completes the record. Raises CarrierUnavailable, after trying both.
        """
        callback, _ = self.store.change(
            callback_id, lambda c: transitions.close(c, reason, clock.now())
        )
        failures: list[CarrierUnavailable] = []
        for name in LegName:
            leg, other = callback.leg(name), callback.leg(name.other)
            if leg.ended or leg.call_sid is None:
                continue
            try:
                sentence = outcomes.parting_sentence(callback, leg, other)
                event = self.carrier.end(leg.call_sid, sentence)
            except CarrierUnavailable as failure:  # still release the other party
                failures.append(failure)
                continue
            change = partial(transitions.record, name=name, attempt=leg.attempt, event=event)
            callback, _ = self.store.change(callback_id, change)
        self.store.release(callback)  # if other writers win, `reconcile` releases it
        if failures:
            raise failures[0]
        return callback

    def close_unless_erased(self, callback_id: str, reason: CloseReason | None) -> None:
        """The workflow's last step. A callback that was erased meanwhile had already ended."""
        try:
            self.close(callback_id, reason)
        except CallbackNotFound:
            logger.info("the callback was erased before it was closed", callback_id=callback_id)


@dataclass(frozen=True)
class PacedCalls(Calls):
    """Place the calls of callbacks, each at its departure."""

    pace: Pace

    def place(self, callback: Callback, names: Iterable[LegName], departure: Departure) -> Callback:
        """Claim and dial those of these legs that are planned, at a near departure. Claims no leg
        while the carrier is not `ready`: it stays planned, like one whose claim was released.

        `callback` is the row as it was just written or read."""
        for name in names:
            if callback.leg(name).status is not LegStatus.PLANNED or not self.carrier.ready():
                continue
            self.pace.wait_for_claim(departure)
            claim = partial(transitions.claim, name=name, now=clock.now())
            callback, is_claimed = self.store.change(callback.callback_id, claim, known=callback)
            if is_claimed:
                callback, departure = self._dial(callback, name, departure)
        return callback

    def dial(self, callback: Callback, names: Iterable[LegName], departure: Departure) -> Callback:
        """Dial those of these legs that this process has just stored as claimed."""
        attempts = {
            name: callback.leg(name).attempt
            for name in names
            if callback.leg(name).status is LegStatus.DIALING
        }
        while attempts:
            name, attempt = next(iter(attempts.items()))
            del attempts[name]
            leg = callback.leg(name)
            if leg.status is not LegStatus.DIALING or leg.attempt != attempt:
                continue
            if transitions.over(callback):  # another leg was refused, or the client canceled
                callback = self._release(callback, name, attempt)
            else:
                callback, departure = self._dial(callback, name, departure, attempts)
        return callback

    def _release(self, callback: Callback, name: LegName, attempt: int) -> Callback:
        release = partial(transitions.release, name=name, attempt=attempt)
        return self.store.change(callback.callback_id, release, known=callback)[0]

    def _dial(
        self,
        callback: Callback,
        name: LegName,
        departure: Departure,
        claimed: Mapping[LegName, int] | None = None,
    ) -> tuple[Callback, Departure]:
        """Dial a claimed leg. Returns the callback and the departure of the next leg.

        `claimed`: the attempts of legs that this process dials afterwards. Their claims begin again
        with the result's write."""
        attempt = callback.leg(name).attempt
        on_time = self.pace.on_time(departure)
        if on_time is None:
            return self._release(callback, name, attempt), departure
        if transitions.claim_expired(callback.leg(name), clock.now()):
            # This sandbox was frozen: others may have given up the leg by now.
            return callback, on_time
        result = self.carrier.dial(callback, name)

        def with_result(current: Callback) -> Callback | None:
            after = _with_result(current, name, attempt, result)
            for other, its_attempt in (claimed or {}).items() if after else ():
                begins = max(clock.now(), on_time.after_first().at - LEAD)
                after = transitions.renew(after or current, other, its_attempt, begins)
            return after

        callback, _ = self.store.change(callback.callback_id, with_result, known=callback)
        if result.call_sid and transitions.over(callback):
            # Closed during the request: perhaps no other process knows this call.
            event = self.carrier.end(result.call_sid)
            callback, _ = self.store.change(
                callback.callback_id, lambda c: transitions.record(c, name, attempt, event)
            )
        return callback, on_time.after_first()


def legs_to_dial(callback: Callback, step: Step) -> list[Leg]:
    """The planned legs of this step: the carrier accepted no request for them, so dialing again is
    safe. Empty once the callback is over."""
    if transitions.over(callback):
        return []
    legs = (callback.leg(name) for name in timing.legs_of_step(callback, step))
    return [leg for leg in legs if leg.status is LegStatus.PLANNED]


def _with_result(
    callback: Callback, name: LegName, attempt: int, result: DialResult
) -> Callback | None:
    if result.sent is Sent.NOT_SENT:
        return transitions.release(callback, name, attempt, _not_before(result))
    return transitions.record(callback, name, attempt, _EVENTS[result.sent](result))


def _not_before(result: DialResult) -> datetime | None:
    if result.retry_after is None:
        return None
    return clock.now() + timing.pause(result.retry_after, randomness.source.random())


_EVENTS = {
    Sent.ACCEPTED: lambda result: LegEvent(
        LegStatus.QUEUED, at=clock.now(), call_sid=result.call_sid
    ),
    Sent.REJECTED: lambda result: LegEvent(
        LegStatus.ENDED,
        at=clock.now(),
        outcome=LegOutcome.REJECTED,
        cause="carrier_refused",
        carrier_code=result.carrier_code,
    ),
    Sent.UNKNOWN: lambda result: LegEvent(
        LegStatus.UNKNOWN, at=clock.now(), carrier_code=result.carrier_code
    ),
}
