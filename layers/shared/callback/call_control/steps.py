"""Run the steps of a callback's workflow.

A callback is stored, then its first leg is dialed, then its workflow starts. Each step of the
workflow places its own legs. Everything here is safe to repeat after a crash.
"""

from dataclasses import dataclass

from callback.call_control.dialing import Calls, legs_to_dial
from callback.call_control.workflow import Workflow
from callback.errors import CarrierBusy, CarrierRejected, CarrierUnavailable
from callback.lifecycle import timing, transitions
from callback.lifecycle.models import Callback, LegName, LegOutcome, Step, Waiting
from callback.tenancy.policy_store import PolicyStore


@dataclass(frozen=True)
class CallControl(Calls):
    """Carry a stored callback to its end."""

    workflow: Workflow
    policies: PolicyStore

    def begin(self, callback: Callback) -> Callback:
        """Dial the first legs that this process has stored as claimed, and start the workflow.

        Raises CarrierRejected if the carrier rejects the call at once. The callback's record stays.
        An unreachable carrier raises nothing: the workflow tries again.
        """
        return self._start(self.dial(callback, timing.legs_of_step(callback, Step.FIRST)))

    def complete(self, callback: Callback) -> Callback:
        """Do what is left of `begin`, after the process that stored the callback died. It dials
        planned legs only: a claimed one may have been dialed. Safe to repeat.

        Raises CarrierRejected as `begin` does.
        """
        return self._start(self.place_step(callback, Step.FIRST))

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
        Raises CarrierUnavailable or CarrierBusy while a leg still has to be dialed. The workflow
        retries on both.
        """
        callback, is_latest = self.store.change(callback_id, lambda c: transitions.wait(c, task))
        if not is_latest:
            return  # a later invocation has replaced this one
        callback = self.place_step(callback, task.step)
        legs = legs_to_dial(callback, task.step)
        if legs and callback.waiting != task:
            self.workflow.dial_again(callback)
        if any(leg.not_before for leg in legs):
            raise CarrierBusy("The carrier requires a pause before the next request.")
        if legs:
            raise CarrierUnavailable("The carrier could not be reached.")
        self.workflow.settle(callback)

    def place_step(self, callback: Callback, step: Step) -> Callback:
        """Dial the legs of this step that are still planned.

        While calling is stopped, for the tenant or for all tenants, end the callback instead.
        """
        names = timing.legs_of_step(callback, step)
        if not self.policies.standing(callback.tenant).may_call:
            callback, _ = self.store.change(
                callback.callback_id, lambda c: transitions.stop(c, names)
            )
        return self.place(callback, names)


def _rejection(callback: Callback, name: LegName) -> CarrierRejected:
    leg = callback.leg(name)
    return CarrierRejected(
        f"The carrier refused to call leg_{name}.",
        callback_id=callback.callback_id,
        leg=str(name),
        carrier_code=leg.carrier_code,
    )
