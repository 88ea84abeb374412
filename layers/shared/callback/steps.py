"""A step of the workflow begins: remember its token, place its legs, settle what is decided."""

from callback import placement, transitions
from callback.callbacks import CallbackStore
from callback.dialer import Dialer
from callback.errors import CarrierBusy, CarrierUnavailable
from callback.models import Waiting
from callback.policy import PolicyStore
from callback.workflow import Workflow


def begin(
    store: CallbackStore,
    dialer: Dialer,
    policies: PolicyStore,
    workflow: Workflow,
    callback_id: str,
    task: Waiting,
) -> None:
    """Safe to run again with a new token: a leg already dialed is not dialed again.

    The token is written before anything is dialed. Carrier events are written to the same
    row, so whichever comes second sees both and settles: no wake-up is lost.
    Raises CarrierUnavailable and CarrierBusy, which the workflow retries, where a leg is still
    to be dialed.
    """
    callback, is_latest = store.change(callback_id, lambda c: transitions.wait(c, task))
    if not is_latest:
        return  # a later invocation has taken over, and nobody hears of this one
    callback = placement.place_step(store, dialer, policies, callback, task.step)
    left = placement.still_to_dial(callback, task.step)
    if left and callback.waiting != task:
        workflow.dial_again(callback)
    if any(leg.not_before for leg in left):
        raise CarrierBusy("The carrier said when to ask again.")
    if left:
        raise CarrierUnavailable("The carrier could not be reached.")
    workflow.settle(callback)
