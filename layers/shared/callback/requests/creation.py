"""What is asked for, and whether it may be: decided before anything is stored or dialed."""

import secrets
import uuid
from datetime import timedelta

from callback import clock
from callback.admission.rules import Admitted
from callback.errors import CallbackError
from callback.lifecycle.models import Callback, Leg, Source, Webhook
from callback.requests.intake import Intake
from callback.requests.schema import CallbackRequest, LegRequest
from callback.storage.idempotency_keys import Key


def admit(intake: Intake, callback: Callback, key: Key | None = None) -> Admitted:
    """Raises the refusals of `admission`; but KeyUsed for a key that was used: a repetition gets
    its first answer, whatever the rules say by now. Writes nothing."""
    try:
        return intake.admission.admit(callback)
    except CallbackError:
        if key:
            intake.store.keys.refuse_used(callback, key)
        raise


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
