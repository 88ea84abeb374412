"""Close a callback: nobody rings on, nobody is left alone, and the record ends.

Safe to run again, at any moment, by the workflow, by its safety net, or by a refused create.
"""

from functools import partial

from aws_lambda_powertools import Logger

from callback import clock, outcomes, transitions
from callback.callbacks import CallbackStore
from callback.dialer import Dialer
from callback.errors import CallbackNotFound, CarrierUnavailable
from callback.models import Callback, CloseReason, LegName

logger = Logger(child=True)


def close(
    store: CallbackStore, dialer: Dialer, callback_id: str, reason: CloseReason | None = None
) -> Callback:
    """End what is left of the callback and answer how it now stands.

    A live call is asked to end; where the carrier does not yet say that it did, its status
    webhook completes the record. Raises CarrierUnavailable once both were tried.
    """
    callback, _ = store.change(callback_id, lambda c: transitions.close(c, reason, clock.now()))
    failures: list[CarrierUnavailable] = []
    for name in LegName:
        leg, other = callback.leg(name), callback.leg(name.other)
        if leg.ended or leg.call_sid is None:
            continue
        try:
            event = dialer.end(leg.call_sid, outcomes.parting_sentence(callback, leg, other))
        except CarrierUnavailable as failure:  # the other party is to be released all the same
            failures.append(failure)
            continue
        change = partial(transitions.record, name=name, attempt=leg.attempt, event=event)
        callback, _ = store.change(callback_id, change)
    store.release(callback)  # where others are in the way, `reconcile` does it
    if failures:
        raise failures[0]
    return callback


def close_if_kept(
    store: CallbackStore, dialer: Dialer, callback_id: str, reason: CloseReason | None
) -> None:
    """The workflow's last step. Where the callback was erased meanwhile, it had ended."""
    try:
        close(store, dialer, callback_id, reason)
    except CallbackNotFound:
        logger.info("there is nothing to close any more", callback_id=callback_id)
