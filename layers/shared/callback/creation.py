"""Accept a callback: store it, dial its first leg, start its workflow."""

import secrets
import uuid
from datetime import timedelta

from callback import clock, closing, placement
from callback.admission import Admission, Admitted
from callback.dialer import Dialer
from callback.errors import CallbackError, CarrierRejected
from callback.idempotency import Key
from callback.intake_store import IntakeStore
from callback.models import Callback, Leg, LegName, LegOutcome, Source, Step, Webhook
from callback.policy import PolicyStore
from callback.schema import CallbackRequest, LegRequest
from callback.workflow import Workflow


def admit(
    store: IntakeStore, admission: Admission, callback: Callback, key: Key | None = None
) -> Admitted:
    """Raises the refusals of `admission`; but KeyUsed for a key that was used: a repetition gets
    its first answer, whatever the rules say by now. Writes nothing."""
    try:
        return admission.admit(callback)
    except CallbackError:
        if key:
            store.keys.refuse_used(callback, key)
        raise


def create(
    store: IntakeStore,
    dialer: Dialer,
    workflow: Workflow,
    policies: PolicyStore,
    admitted: Admitted,
    *,
    allow_parallel: bool,
    key: Key | None = None,
) -> Callback:
    """The accepted callback, its first leg (both, if simultaneous) asked for.

    Raises CarrierRejected where the carrier refused at once; the record of it stays. A carrier
    that cannot be reached is no refusal: the workflow goes on trying.
    Raises what `store.add` does; nothing is done then.
    """
    store.add(
        admitted.callback,
        key,
        allow_parallel=allow_parallel,
        conditions=admitted.conditions,
    )
    return complete(store, dialer, workflow, policies, admitted.callback)


def complete(
    store: IntakeStore,
    dialer: Dialer,
    workflow: Workflow,
    policies: PolicyStore,
    callback: Callback,
) -> Callback:
    """What remains to be done once a callback is stored. Safe to run again after a crash."""
    callback = placement.place_step(store, dialer, policies, callback, Step.FIRST)
    for name in LegName:
        if callback.leg(name).outcome is LegOutcome.REJECTED:
            closing.close(store, dialer, callback.callback_id)
            raise _refusal(callback, name)
    workflow.start(callback)
    if placement.still_to_dial(callback, Step.FIRST):
        # If it runs already it waits for this very request, which the carrier did not take.
        workflow.dial_again(callback)
    return callback


def planned(
    tenant: str, request: CallbackRequest, retention: timedelta, source: Source = Source.API
) -> Callback:
    """What is asked for, to be decided about; a leg of which no caller ID was asked has none."""
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
        webhook=_webhook(request),
        leg_a=_leg(request.leg_a),
        leg_b=_leg(request.leg_b),
    )


def _leg(asked: LegRequest) -> Leg:
    return Leg(
        to=asked.to,
        caller_id=asked.caller_id or "",
        ring_timeout_seconds=asked.ring_timeout_seconds,
    )


def _webhook(request: CallbackRequest) -> Webhook | None:
    asked = request.webhook
    return Webhook(asked.url, [str(event) for event in asked.events]) if asked else None


def _refusal(callback: Callback, name: LegName) -> CarrierRejected:
    leg = callback.leg(name)
    return CarrierRejected(
        f"The carrier refused to call leg_{name}.",
        callback_id=callback.callback_id,
        leg=str(name),
        carrier_code=leg.carrier_code,
    )
