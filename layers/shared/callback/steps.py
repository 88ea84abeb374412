"""A step of the workflow begins: remember its token, place its legs, settle what is decided."""

from callback import placement, transitions
from callback.dialer import Dialer
from callback.errors import CarrierBusy, CarrierUnavailable
from callback.models import Step
from callback.policy import PolicyStore
from callback.store import CallbackStore
from callback.workflow import Workflow


def begin(
    store: CallbackStore,
    dialer: Dialer,
    policies: PolicyStore,
    workflow: Workflow,
    callback_id: str,
    step: Step,
    token: str,
) -> None:
    """Safe to run again with a new token: a leg already dialed is not dialed again.

    The token is written before anything is dialed. Carrier events are written to the same
    row, so whichever comes second sees both and settles: no wake-up is lost.
    Raises CarrierUnavailable and CarrierBusy, which the workflow retries, where a leg is still
    to be dialed.
    """
    callback, _ = store.change(callback_id, lambda c: transitions.wait(c, step, token))
    callback = placement.place_step(store, dialer, policies, callback, step)
    left = placement.still_to_dial(callback, step)
    if any(leg.not_before for leg in left):
        raise CarrierBusy("The carrier said when to ask again.")
    if left:
        raise CarrierUnavailable("The carrier could not be reached.")
    workflow.settle(callback)
