"""The types of what clients see of webhooks: their endpoint, deliveries and events.

`management` makes the first two, `lifecycle.events` the last. The OpenAPI document's schemas are
generated from them. The text below a field is its description there. Only that document imports
this module at run time.
"""

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema, with_config
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

from callback.lifecycle import events
from callback.lifecycle.events import EventType
from callback.lifecycle.payloads import EventDataView
from callback.values import Count, NextCursor, Ordinal, Time, Uuid
from callback.webhooks.deliveries import DeliveryStatus
from callback.webhooks.schema import Selection

# Rows keep these as text.
_Selected = Annotated[str, WithJsonSchema({"enum": [*Selection]})]
_AnyEvent = Annotated[str, WithJsonSchema({"enum": [*EventType, events.TEST]})]


@with_config(title="Endpoint", extra="forbid")
class EndpointView(TypedDict):
    # pydantic reads no text below a field for the class that inherits it.
    url: str
    events: list[_Selected]
    created_at: Time
    disabled_at: Annotated[
        Time | None, Field(description="When it answered 410. It receives no events.")
    ]
    previous_secret_until: Annotated[
        Time | None, Field(description="Until then the previous secret also signs.")
    ]


@with_config(title="EndpointWithSecret", extra="forbid", use_attribute_docstrings=True)
class EndpointWithSecretView(EndpointView):
    secret: str
    """whsec_ and base64."""


@with_config(title="Delivery", extra="forbid", use_attribute_docstrings=True)
class DeliveryView(TypedDict):
    id: str
    """The event's webhook-id."""
    type: _AnyEvent
    callback_id: Uuid | None
    sequence: Ordinal | None
    status: DeliveryStatus
    attempts: Count
    reason: str | None
    """Of the last failure, such as http_<status>, timed_out or tls_failed."""
    created_at: Time
    failed_at: Time | None


@with_config(title="FailedPage", extra="forbid")
class FailedPageView(TypedDict):
    failed: Annotated[list[DeliveryView], Field(max_length=100)]
    next_cursor: NextCursor


@with_config(title="Event", extra="forbid")
class EventView(TypedDict):
    type: EventType
    timestamp: Time
    data: EventDataView


@with_config(title="TestEvent", extra="forbid")
class TestEventView(TypedDict):
    type: Annotated[str, WithJsonSchema({"const": events.TEST})]
    timestamp: Time
    data: Annotated[dict[str, Any], WithJsonSchema({"type": "object", "maxProperties": 0})]
