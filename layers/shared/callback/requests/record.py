"""The types of the callback that clients see. `views` makes it.

The OpenAPI document's schemas `Callback` and `Leg` are generated from them. The text below a field
is its description there. Only that document imports this module at run time.
"""

from typing import Annotated

from pydantic import Field, with_config
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

from callback.lifecycle.models import CallbackStatus, LegOutcome, LegStatus, Order, Source

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
