"""Call control: run the steps of a callback's workflow, and end it.

A callback is stored, then its first leg is dialed, then its workflow starts; each step of the
workflow places its legs. Whatever is done here is safe to do again after a crash.
"""

from dataclasses import dataclass

from callback.call_control.dialing import Calls, still_to_dial
from callback.call_control.workflow import Workflow
from callback.errors import CarrierBusy, CarrierRejected, CarrierUnavailable
from callback.lifecycle import timing, transitions
from callback.lifecycle.models import Callback, LegName, LegOutcome, Step, Waiting
from callback.tenancy.policy import PolicyStore


@dataclass(frozen=True)
class CallControl(Calls):
    """What it takes to take a stored callback to its end."""

    workflow: Workflow
    policies: PolicyStore

    def complete(self, callback: Callback) -> Callback:
        """What remains to be done once a callback is stored: ask for its first leg (both, if
        simultaneous) and start its workflow. Safe to run again after a crash.

        Raises CarrierRejected where the carrier refused at once; the record of it stays. A carrier
        that cannot be reached is no refusal: the workflow goes on trying.
        """
        callback = self.place_step(callback, Step.FIRST)
        for name in LegName:
            if callback.leg(name).outcome is LegOutcome.REJECTED:
                self.close(callback.callback_id)
                raise _refusal(callback, name)
        self.workflow.start(callback)
        if still_to_dial(callback, Step.FIRST):
            # If it runs already it waits for this very request, which the carrier did not take.
            self.workflow.dial_again(callback)
        return callback

    def begin_step(self, callback_id: str, task: Waiting) -> None:
        """A step of the workflow begins: remember its token, place its legs, settle what is
        decided. Safe to run again with a new token: a leg already dialed is not dialed again.

        The token is written before anything is dialed. Carrier events are written to the same
        row, so whichever comes second sees both and settles: no wake-up is lost.
        Raises CarrierUnavailable and CarrierBusy, which the workflow retries, where a leg is still
        to be dialed.
        """
        callback, is_latest = self.store.change(callback_id, lambda c: transitions.wait(c, task))
        if not is_latest:
            return  # a later invocation has taken over, and nobody hears of this one
        callback = self.place_step(callback, task.step)
        left = still_to_dial(callback, task.step)
        if left and callback.waiting != task:
            self.workflow.dial_again(callback)
        if any(leg.not_before for leg in left):
            raise CarrierBusy("The carrier said when to ask again.")
        if left:
            raise CarrierUnavailable("The carrier could not be reached.")
        self.workflow.settle(callback)

    def place_step(self, callback: Callback, step: Step) -> Callback:
        """Dial the legs of this step that are still planned. A leg already dialed is left alone.

        While calling is stopped, for the tenant or for everybody, the callback is over instead.
        """
        names = timing.legs_of_step(callback, step)
        if not self.policies.standing(callback.tenant).may_call:
            callback, _ = self.store.change(
                callback.callback_id, lambda c: transitions.stop(c, names)
            )
        return self.place(callback, names)


def _refusal(callback: Callback, name: LegName) -> CarrierRejected:
    leg = callback.leg(name)
    return CarrierRejected(
        f"The carrier refused to call leg_{name}.",
        callback_id=callback.callback_id,
        leg=str(name),
        carrier_code=leg.carrier_code,
    )
