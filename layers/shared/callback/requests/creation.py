"""Plan a requested callback and have it admitted, before anything is stored or dialed."""

import secrets
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from callback import clock
from callback.admission.admission import Admitted
from callback.errors import CallbackError
from callback.lifecycle.models import Callback, Leg, Source, Webhook
from callback.requests.intake import Intake
from callback.storage.idempotency_keys import Key

if TYPE_CHECKING:
    from callback.requests.schema import CallbackRequest, LegRequest


# More than a callback takes from its start to its end.
_LONGEST = timedelta(days=1)


def admit(
    intake: Intake, callback: Callback, key: Key | None = None, *, may_wait: bool = False
) -> Admitted:
    """Apply the admission rules. Writes nothing.

    `may_wait` as in `Admission.admit`. Raises the refusals of `admission`. If the key was used
    before, raises KeyUsed instead: a repetition gets the first response, whatever the rules say
    now.
    """
    try:
        return intake.admission.admit(callback, may_wait=may_wait)
    except CallbackError:
        if key:
            intake.store.keys.refuse_used(callback, key)
        raise


def plan(
    tenant: str, request: "CallbackRequest", retention: timedelta, source: Source = Source.API
) -> Callback:
    """The callback that the request describes. A leg without a requested caller ID has none yet."""
    now, start_within = clock.now(), timedelta(seconds=request.start_within_seconds)
    return Callback(
        callback_id=str(uuid.uuid4()),
        tenant=tenant,
        source=source,
        order=request.order,
        room=secrets.token_urlsafe(24),
        created_at=now,
        expires_at=now + start_within + _LONGEST + retention,  # its end sets the final one
        retention_days=retention.days,
        start_by=now + start_within,
        max_duration_seconds=request.max_duration_seconds,
        metadata=request.metadata,
        webhook=_webhook(request),
        leg_a=_leg(request.leg_a),
        leg_b=_leg(request.leg_b),
    )


def _leg(leg: "LegRequest") -> Leg:
    return Leg(
        to=leg.to,
        caller_id=leg.caller_id or "",
        ring_timeout_seconds=leg.ring_timeout_seconds,
    )


def _webhook(request: "CallbackRequest") -> Webhook | None:
    webhook = request.webhook
    return Webhook(webhook.url, [str(event) for event in webhook.events]) if webhook else None
