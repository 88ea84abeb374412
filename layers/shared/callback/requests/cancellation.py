"""Cancel a callback in any state, at its client's request."""

from callback import clock
from callback.call_control.workflow import Workflow
from callback.errors import CallbackEnded
from callback.lifecycle import transitions
from callback.lifecycle.models import Callback, CallbackStatus, CloseReason
from callback.requests import lookup
from callback.storage.callbacks import CallbackStore


def cancel(store: CallbackStore, workflow: Workflow, *, tenant: str, callback_id: str) -> Callback:
    """Stop all further dialing and joining. The workflow ends the live calls.

    Canceling twice is harmless. Raises CallbackNotFound, and CallbackEnded if the callback ended
    for another reason.
    """
    callback, _ = store.change(
        callback_id, lambda c: transitions.cancel(lookup.owned(c, tenant), clock.now())
    )
    if (
        callback.status is CallbackStatus.ENDED
        and callback.close_reason is not CloseReason.CANCELED
    ):
        raise CallbackEnded(f"The callback has already ended: {callback.outcome}.")
    if callback.status is not CallbackStatus.ENDED:
        workflow.settle(callback)
    elif callback.waiting_place is not None:  # it was never started: nobody else gives it back
        store.release(callback)
    return callback
