"""Accept a callback: store it, dial its first leg, start its workflow."""

import secrets
import uuid
from datetime import timedelta

from callback import clock, closing, placement
from callback.dialer import Dialer
from callback.errors import CarrierRejected
from callback.idempotency import Key
from callback.models import Callback, Leg, LegName, LegOutcome, Source, Step
from callback.schema import CallbackRequest, LegRequest
from callback.store import CallbackStore
from callback.workflow import Workflow


def create(
    store: CallbackStore,
    dialer: Dialer,
    workflow: Workflow,
    *,
    tenant: str,
    request: CallbackRequest,
    retention: timedelta,
    key: Key | None = None,
    source: Source = Source.API,
) -> Callback:
    """The accepted callback, its first leg (both, if simultaneous) asked for.

    Raises CarrierRejected where the carrier refused at once; the record of it stays. A carrier
    that cannot be reached is no refusal: the workflow goes on trying.
    Raises KeyUsed, CallbackInProgress and StoreContended as `store.add`; nothing is done then.
    """
    callback = _planned(tenant, request, retention, source)
    store.add(callback, key, allow_parallel=request.allow_parallel)
    return complete(store, dialer, workflow, callback)


def complete(
    store: CallbackStore, dialer: Dialer, workflow: Workflow, callback: Callback
) -> Callback:
    """What remains to be done once a callback is stored. Safe to run again after a crash."""
    callback = placement.place_step(store, dialer, callback, Step.FIRST)
    for name in LegName:
        if callback.leg(name).outcome is LegOutcome.REJECTED:
            closing.close(store, dialer, callback.callback_id)
            raise _refusal(callback, name)
    workflow.start(callback)
    return callback


def _planned(
    tenant: str, request: CallbackRequest, retention: timedelta, source: Source
) -> Callback:
    now = clock.now()
    return Callback(
        callback_id=str(uuid.uuid4()),
        tenant=tenant,
        source=source,
        order=request.order,
        room=secrets.token_urlsafe(24),
        created_at=now,
        expires_at=now + retention,
        max_duration_seconds=request.max_duration_seconds,
        metadata=request.metadata,
        leg_a=_leg(request.leg_a, other=request.leg_b),
        leg_b=_leg(request.leg_b, other=request.leg_a),
    )


def _leg(asked: LegRequest, *, other: LegRequest) -> Leg:
    return Leg(
        to=asked.to,
        caller_id=asked.caller_id or other.to,
        ring_timeout_seconds=asked.ring_timeout_seconds,
    )


def _refusal(callback: Callback, name: LegName) -> CarrierRejected:
    leg = callback.leg(name)
    return CarrierRejected(
        f"The carrier refused to call leg_{name}.",
        callback_id=callback.callback_id,
        leg=str(name),
        carrier_code=leg.carrier_code,
    )
