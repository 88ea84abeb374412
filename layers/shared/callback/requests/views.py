"""The callback as clients see it, in the responses to POST, GET and DELETE and in lists.

The OpenAPI document's schemas `Callback` and `Leg` are generated from these types. The text below a
field is its description there.
"""

from typing import Annotated

from pydantic import Field, with_config
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

from callback.lifecycle import outcomes
from callback.lifecycle.models import (
    Callback,
    CallbackStatus,
    Leg,
    LegOutcome,
    LegStatus,
    Order,
    Source,
    maybe_text,
    to_text,
)

Uuid = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]  # RFC 3339 UTC
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[int, Field(ge=0)]
Outcome = Annotated[str, Field(pattern="^[a-z_]{1,64}$")]

# No class can have a field called `from`.
_Addresses = TypedDict("_Addresses", {"to": str, "from": str})


@with_config(title="Leg", extra="forbid", use_attribute_docstrings=True)
class LegView(_Addresses):
    status: LegStatus
    outcome: LegOutcome | None
    cause: str | None
    """sip_<code>, carrier_refused, carrier_did_not_answer, carrier_has_no_such_call or not_dialed.
    More may be added."""
    carrier_code: int | None
    """The carrier's own error code."""
    call_sid: str | None
    """The carrier's id of the call."""
    attempts: Count
    ring_timeout_seconds: Seconds
    dialed_at: Time | None
    ringing_at: Time | None
    answered_at: Time | None
    joined_at: Time | None
    ended_at: Time | None
    seconds: Seconds | None
    """Answered seconds, as the carrier counts them."""


@with_config(title="Callback", extra="forbid", use_attribute_docstrings=True)
class CallbackView(TypedDict):
    callback_id: Uuid
    status: CallbackStatus
    outcome: Outcome | None
    """Such as completed, first_leg_busy, second_leg_no_answer or canceled. More may be added."""
    cause: str | None
    """The reason, if known."""
    source: Source
    """The entry point that requested it."""
    order: Order
    leg_A: LegView
    leg_B: LegView
    bridged_seconds: Seconds | None
    """How long both parties were connected."""
    max_duration_seconds: Seconds
    metadata: dict[str, str]
    created_at: Time
    connected_at: Time | None
    ended_at: Time | None


def callback_view(callback: Callback) -> CallbackView:
    return {
        "callback_id": callback.callback_id,
        "status": callback.status,
        "outcome": callback.outcome,
        "cause": callback.cause,
        "source": callback.source,
        "order": callback.order,
        "leg_A": _leg_view(callback.leg_a),
        "leg_B": _leg_view(callback.leg_b),
        "bridged_seconds": outcomes.bridged_seconds(callback),
        "max_duration_seconds": callback.max_duration_seconds,
        "metadata": callback.metadata,
        "created_at": to_text(callback.created_at),
        "connected_at": maybe_text(callback.connected_at),
        "ended_at": maybe_text(callback.ended_at),
    }


def _leg_view(leg: Leg) -> LegView:
    return {
        "to": leg.to,
        "from": leg.caller_id,
        "status": leg.status,
        "outcome": leg.outcome,
        "cause": leg.cause,
        "carrier_code": leg.carrier_code,
        "call_sid": leg.call_sid,
        "attempts": leg.attempt,
        "ring_timeout_seconds": leg.ring_timeout_seconds,
        "dialed_at": maybe_text(leg.dialed_at),
        "ringing_at": maybe_text(leg.ringing_at),
        "answered_at": maybe_text(leg.answered_at),
        "joined_at": maybe_text(leg.joined_at),
        "ended_at": maybe_text(leg.ended_at),
        "seconds": leg.seconds,
    }
