"""A step of the workflow begins: remember its token, place its legs, settle what is decided."""

from typing import TYPE_CHECKING

from callback import placement, transitions, workflow
from callback.dialer import Dialer
from callback.errors import CarrierUnavailable
from callback.models import Step
from callback.store import CallbackStore

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


def begin(
    store: CallbackStore,
    dialer: Dialer,
    step_functions: "SFNClient",
    callback_id: str,
    step: Step,
    token: str,
) -> None:
    """Safe to run again with a new token: a leg already dialed is not dialed again.

    The token is written before anything is dialed. Carrier events are written to the same
    row, so whichever comes second sees both and settles: no wake-up is lost.
    Raises CarrierUnavailable, which the workflow retries, where nothing could be sent.
    """
    callback, _ = store.change(callback_id, lambda c: transitions.wait(c, step, token))
    callback = placement.place_step(store, dialer, callback, step)
    if placement.still_to_dial(callback, step):
        raise CarrierUnavailable("The carrier could not be reached.")
    workflow.settle(step_functions, callback)
