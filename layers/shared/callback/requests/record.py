"""The types of the callback, of a page and of a dry run that clients see.

`views` and `dry_run` make them. The OpenAPI document's schemas are generated from them. The text
below a field is its description there. Only that document imports this module at run time.
"""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema, with_config
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

from callback.lifecycle.models import (
    CallbackStatus,
    LegName,
    LegOutcome,
    LegStatus,
    Order,
    Source,
    Step,
    WaitingFor,
)
from callback.numbering.number_types import NumberType
from callback.values import Count, NextCursor, Seconds, Time, Uuid

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
    """Such as completed, first_leg_busy, second_leg_no_answer, canceled, expired or not_placed.
    More may be added."""
    cause: str | None
    """The reason, if known."""
    waiting_for: WaitingFor | None
    """What a waiting callback waits for: a departure, or limits of yours that are full."""
    expected_at: Time | None
    """When a waiting callback may expect to be started, if that can be estimated."""
    start_by: Time | None
    """A callback that is still waiting then ends as expired."""
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


@with_config(title="Accepted", extra="forbid")
class AcceptedView(TypedDict):
    callback_id: Uuid


@with_config(title="CallbackPage", extra="forbid")
class CallbackPageView(TypedDict):
    callbacks: Annotated[list[CallbackView], Field(max_length=100)]
    next_cursor: NextCursor


Money = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]{2,6}$")]
_Kind = Annotated[str, WithJsonSchema({"enum": [*NumberType, "extension", "sip"]})]
_Step = Annotated[Step, Field(description="Calls of the same step are made at once.")]

# No class can have a field called `from`.
_Call = TypedDict("_Call", {"leg": LegName, "step": _Step, "to": str, "from": str})


@with_config(title="CallingWindow", extra="forbid")
class CallingWindowView(TypedDict):
    hours: str
    zones: list[str]


@with_config(title="RehearsedCall", extra="forbid", use_attribute_docstrings=True)
class RehearsedCallView(_Call):
    region: str | None
    """Of a number: ISO 3166."""
    type: _Kind
    calling_window: CallingWindowView | None
    """Null: calls are allowed at any hour."""
    ring_timeout_seconds: Seconds
    billed_seconds_at_most: Seconds
    price_per_minute: Money


@with_config(title="Cost", extra="forbid")
class CostView(TypedDict):
    amount: Money
    currency: str


@with_config(title="Rehearsal", extra="forbid", use_attribute_docstrings=True)
class RehearsalView(TypedDict):
    dry_run: Literal[True]
    order: Order
    calls: Annotated[list[RehearsedCallView], Field(min_length=2, max_length=2)]
    """In dialing order."""
    estimated_maximum_cost: CostView
