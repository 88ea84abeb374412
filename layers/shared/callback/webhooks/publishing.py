"""From a change of a callback's row to those who are told of it.

Runs again as a whole after any failure: a delivery is stored once, a message too many does no
harm, and on the bus the same event has the same id.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from callback.lifecycle import events
from callback.lifecycle.events import Event
from callback.lifecycle.models import Callback
from callback.webhooks import deliveries
from callback.webhooks.deliveries import Delivery, DeliveryQueue, DeliveryStore
from callback.webhooks.endpoints import EndpointStore

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "voice-callback"


class NotPublished(Exception):
    """The bus did not take an event; `code` is its word for why."""


class EventBus:
    """An EventBridge bus, for those who are on AWS already."""

    def __init__(self, client: "EventBridgeClient", name: str) -> None:
        self._client = client
        self._name = name

    def put(self, tenant: str, published: list[Event]) -> None:
        """The few that come from one change: ten would fit. Raises NotPublished."""
        answer = self._client.put_events(
            Entries=[
                {
                    "EventBusName": self._name,
                    "Source": SOURCE,
                    "DetailType": event.type,
                    "Time": event.at,
                    "Detail": json.dumps(
                        {"id": event.message_id, "tenant": tenant, **json.loads(event.payload)}
                    ),
                }
                for event in published
            ]
        )
        if answer["FailedEntryCount"]:
            (code, *_) = [e["ErrorCode"] for e in answer["Entries"] if "ErrorCode" in e]
            raise NotPublished(code)


@dataclass(frozen=True)
class Publisher:
    endpoints: EndpointStore
    deliveries: DeliveryStore
    queue: DeliveryQueue
    bus: EventBus

    def publish(self, old: Callback | None, new: Callback) -> None:
        """Raises NotPublished, and botocore's errors: nothing is lost if it is then run again."""
        happened = events.derive_events(old, new)
        if not happened:
            return
        for delivery in self._wanted(new, happened):
            self.deliveries.add(delivery)
            self.queue.put(delivery)
        self.bus.put(new.tenant, happened)

    def _wanted(self, callback: Callback, happened: list[Event]) -> list[Delivery]:
        """A callback's own URL comes before its tenant's endpoint."""
        if callback.webhook:
            url, wanted = callback.webhook.url, callback.webhook.events
        else:
            endpoint = self.endpoints.find(callback.tenant)
            if endpoint is None or endpoint.disabled_at:
                return []
            url, wanted = None, list(endpoint.events)
        return [
            deliveries.of_event(callback.tenant, event, url)
            for event in happened
            if events.is_selected(event.type, wanted)
        ]
