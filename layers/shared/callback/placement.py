"""Place legs: claim, send, classify, record. Exactly one create request per claim.

A claim is a conditional write, so of any number of processes that want to dial a leg one
does. A request whose fate is unknown is not repeated: its call is adopted from its first
webhook, and the fence (`transitions.answer`) lets one call of a leg into the room.
"""

import random
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from callback import clock, plan, transitions
from callback.callbacks import CallbackStore
from callback.dialer import Dialer, DialResult, Sent
from callback.models import Callback, Leg, LegName, LegOutcome, LegStatus, Step
from callback.transitions import LegEvent

if TYPE_CHECKING:  # `reconcile` dials nothing, and must not pay for the policies
    from callback.policy import PolicyStore


def place_step(
    store: CallbackStore, dialer: Dialer, policies: "PolicyStore", callback: Callback, step: Step
) -> Callback:
    """Dial the legs of this step that are still planned. A leg already dialed is left alone.

    While calling is stopped, for the tenant or for everybody, the callback is over instead.
    """
    names = plan.of_step(callback, step)
    if not policies.standing(callback.tenant).may_call:
        callback, _ = store.change(callback.callback_id, lambda c: transitions.stop(c, names))
    return place(store, dialer, callback, names)


def place(
    store: CallbackStore, dialer: Dialer, callback: Callback, names: Iterable[LegName]
) -> Callback:
    """Claim and dial those of these legs that are planned. Where the dialer is not `ready` none is
    claimed, and it is still to be dialed like one whose claim was given back."""
    for name in names:
        if callback.leg(name).status is LegStatus.PLANNED and not dialer.ready():
            continue
        claim = partial(transitions.claim, name=name, now=clock.now())
        callback, claimed = store.change(callback.callback_id, claim)
        if claimed:
            callback = _dial(store, dialer, callback, name)
    return callback


def still_to_dial(callback: Callback, step: Step) -> list[Leg]:
    """Whose claim was given back: the carrier took no request, and trying again is safe."""
    if transitions.over(callback):
        return []
    legs = (callback.leg(name) for name in plan.of_step(callback, step))
    return [leg for leg in legs if leg.status is LegStatus.PLANNED]


def _dial(store: CallbackStore, dialer: Dialer, callback: Callback, name: LegName) -> Callback:
    attempt = callback.leg(name).attempt
    if transitions.claim_expired(callback.leg(name), clock.now()):
        return callback  # this sandbox was frozen since: the leg is others' to give up by now
    result = dialer.dial(callback, name)
    callback, _ = store.change(
        callback.callback_id, lambda c: _with_result(c, name, attempt, result)
    )
    if result.call_sid and transitions.over(callback):
        # Closed while the request was under way: nobody else may know this call.
        ended = dialer.end(result.call_sid)
        callback, _ = store.change(
            callback.callback_id, lambda c: transitions.record(c, name, attempt, ended)
        )
    return callback


def _with_result(
    callback: Callback, name: LegName, attempt: int, result: DialResult
) -> Callback | None:
    if result.sent is Sent.NOT_SENT:
        return transitions.release(callback, name, attempt, _not_before(result))
    return transitions.record(callback, name, attempt, _EVENTS[result.sent](result))


def _not_before(result: DialResult) -> datetime | None:
    if result.retry_after is None:
        return None
    return clock.now() + plan.pause(result.retry_after, random.random())  # noqa: S311 (no secret)


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
