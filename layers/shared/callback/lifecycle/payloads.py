"""The types of the data in the events that clients receive. `events` makes it.

The OpenAPI document's schemas `EventData` and `EventLeg` are generated from them. Only that
document imports this module at run time.
"""

from typing import NotRequired

from pydantic import with_config
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

from callback.lifecycle.models import CallbackStatus, LegName, LegOutcome, LegStatus
from callback.values import Count, Ordinal, Seconds, Time, Uuid


@with_config(title="EventLeg", extra="forbid")
class EventLegView(TypedDict):
    name: LegName
    status: LegStatus
    outcome: LegOutcome | None
    cause: str | None
    carrier_code: int | None
    attempt: Count
    dialed_at: Time | None
    ringing_at: Time | None
    answered_at: Time | None
    joined_at: Time | None
    ended_at: Time | None
    seconds: Seconds | None


@with_config(title="EventData", extra="forbid", use_attribute_docstrings=True)
class EventDataView(TypedDict):
    callback_id: Uuid
    sequence: Ordinal
    status: CallbackStatus
    outcome: str | None
    cause: str | None
    created_at: Time
    connected_at: Time | None
    ended_at: Time | None
    leg: NotRequired[EventLegView]
    """Only in the events of a leg."""
