"""Run the steps of a callback's workflow.

A callback is stored, then its first leg is dialed, then its workflow starts. Each step of the
workflow places its own legs. Everything here is safe to repeat after a crash.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from aws_lambda_powertools import Logger

from callback import clock
from callback.call_control.dialing import PacedCalls, legs_to_dial
from callback.call_control.pacing import LEAD, LegDeparture
from callback.call_control.workflow import CARRIER_BUSY, Workflow
from callback.errors import (
    CallbackNotFound,
    CarrierBusy,
    CarrierRejected,
    CarrierUnavailable,
    NoDeparture,
)
from callback.lifecycle import timing, transitions
from callback.lifecycle.models import Callback, LegName, LegOutcome, Step, Waiting
from callback.storage.departures import Departure
from callback.tenancy.policy_store import PolicyStore

logger = Logger(child=True)


@dataclass(frozen=True)
class CallControl(PacedCalls):
    """Carry a stored callback to its end."""

    workflow: Workflow
    policies: PolicyStore

    def depart(self, callback: Callback) -> tuple[Callback, Departure | None]:
        """A callback that is not stored yet with the legs of its first step claimed, and their
        departure: one write stores both.

        Without a carrier none is claimed. The workflow's first step then waits for it.
        Raises NoDeparture: none is free soon.
        """
        if not self.carrier.ready():
            return callback, None
        names = timing.legs_of_step(callback, Step.FIRST)
        departure, free_at = self.pace.take(len(names), is_new=True)
        if departure is None:
            seconds = max(1, math.ceil((free_at - clock.now()) / timedelta(seconds=1)))
            raise NoDeparture(
                f"Too many calls are to be started. Send the request again in {seconds} s, or let"
                " the callback wait (start_within_seconds).",
                headers={"Retry-After": str(seconds)},
            )
        return self.claim_first(callback, departure), departure

    def claim_first(self, callback: Callback, departure: Departure) -> Callback:
        """The callback with the legs of its first step claimed for this departure."""
        # The claim begins when the request can be sent: times of the call are counted from there.
        begins = max(clock.now(), departure.at - LEAD)
        return transitions.claim_step(callback, Step.FIRST, begins)

    def begin(self, callback: Callback, departure: Departure | None) -> Callback:
        """Dial the first legs that this process has stored as claimed, and start the workflow.

        Raises CarrierRejected if the carrier rejects the call at once. The callback's record stays.
        An unreachable carrier raises nothing: the workflow tries again.
        """
        if departure:
            names = timing.legs_of_step(callback, Step.FIRST)
            callback = self.dial(callback, names, departure)
        return self._start(callback)

    def complete(self, callback: Callback) -> Callback:
        """Do what is left of `begin`, after the process that stored the callback died. Dials
        nothing: a claimed leg may have been dialed, and the workflow dials a planned one. Safe to
        repeat.

        A waiting callback is left alone. Raises CarrierRejected as `begin` does.
        """
        return callback if transitions.is_waiting(callback) else self._start(callback)

    def _start(self, callback: Callback) -> Callback:
        for name in LegName:
            if callback.leg(name).outcome is LegOutcome.REJECTED:
                self.close(callback.callback_id)
                raise _rejection(callback, name)
        self.workflow.start(callback)
        if legs_to_dial(callback, Step.FIRST):
            # A workflow that runs already waits for this request, which was not accepted.
            self.workflow.dial_again(callback)
        return callback

    def begin_step(self, callback_id: str, task: Waiting) -> None:
        """Begin a step of the workflow: store its token, place its legs, and settle the step if it
        is decided. Safe to repeat with a new token: a leg already dialed is not dialed again.

        The token is written before anything is dialed. Carrier events are written to the same row.
        The later of the two writers sees both and settles, so no wake-up is lost.
        A leg whose departure is not near waits in the queue, and the step under its token.
        Raises CarrierUnavailable while a leg has to be dialed and the carrier cannot be reached:
        the workflow retries. Raises CarrierBusy for a carrier that requires pauses for too long.
        """
        callback, is_latest = self.store.change(callback_id, lambda c: transitions.wait(c, task))
        if not is_latest:
            return  # a later invocation has replaced this one
        callback, is_queued = self.place_step(callback, task.step)
        if legs_to_dial(callback, task.step) and not is_queued:
            if callback.waiting != task:
                self.workflow.dial_again(callback)
            raise CarrierUnavailable("The carrier could not be reached.")
        self.workflow.settle(callback)

    def depart_leg(self, leg: LegDeparture) -> None:
        """Dial the legs that waited in the queue. Safe to repeat: a claimed leg is not dialed."""
        try:
            callback = self.store.get(leg.callback_id)
        except CallbackNotFound:
            logger.info("the callback was erased before its leg departed")
            return
        try:
            callback, is_queued = self.place_step(callback, leg.step, leg)
        except CarrierBusy:
            self.workflow.fail_task(callback, CARRIER_BUSY)
            return
        if legs_to_dial(callback, leg.step) and not is_queued:
            self.workflow.dial_again(callback)
        self.workflow.settle(callback)

    def place_step(
        self, callback: Callback, step: Step, waited: LegDeparture | None = None
    ) -> tuple[Callback, bool]:
        """Dial the legs of this step that are still planned, each at its departure.

        `waited`: the message with which they waited. Returns the callback, and whether planned legs
        wait in the queue now.
        While calling is stopped, for the tenant or for all tenants, end the callback instead.
        Raises CarrierBusy.
        """
        names = timing.legs_of_step(callback, step)
        if not self.policies.standing(callback.tenant).may_call:
            callback, _ = self.store.change(
                callback.callback_id, lambda c: transitions.stop(c, names), known=callback
            )
        legs = legs_to_dial(callback, step)
        if not legs or not self.carrier.ready():
            return callback, False
        hops = waited.hops + 1 if waited else 1
        waiting = LegDeparture(callback.callback_id, step, None, clock.now(), hops)
        if pause := _pause(callback, step):
            return callback, self._queue(waiting._replace(not_before=pause))
        departure = waited.departure if waited else None
        departure = departure or self.pace.book(len(legs))
        if not self.pace.is_near(departure):
            return callback, self._queue(waiting._replace(departure=departure))
        callback = self.place(callback, names, departure)
        if pause := _pause(callback, step):
            # Another request is a journey of its own.
            return callback, self._queue(waiting._replace(not_before=pause, hops=1))
        return callback, False

    def _queue(self, leg: LegDeparture) -> bool:
        if self.pace.is_exhausted(leg):
            logger.error("a leg waited too long for its departure", callback_id=leg.callback_id)
            return False
        self.pace.wait_in_queue(leg)
        return True


def _pause(callback: Callback, step: Step) -> datetime | None:
    """The end of the longest pause that the carrier requires, if it is still to come.

    Raises CarrierBusy if the workflow's step would have waited for too long by then.
    """
    ends = (leg.not_before for leg in legs_to_dial(callback, step) if leg.not_before)
    end, task = max(ends, default=None), callback.waiting
    if end is None or end <= clock.now():
        return None
    if task and task.step is step and end > task.entered_at + timing.LONGEST_BUSY:
        raise CarrierBusy("The carrier requires pauses.")
    return end


def _rejection(callback: Callback, name: LegName) -> CarrierRejected:
    leg = callback.leg(name)
    return CarrierRejected(
        f"The carrier refused to call leg_{name}.",
        callback_id=callback.callback_id,
        leg=str(name),
        carrier_code=leg.carrier_code,
    )
