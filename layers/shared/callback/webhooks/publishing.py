"""Publishes the events of one change of a callback's row, to webhooks and to the event bus.

After a failure the whole publication is repeated: a delivery is stored once, a superfluous message
does no harm, and a repeated event on the bus has the same id.
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
    """The bus rejected an event. `code` is EventBridge's error code."""


class EventBus:
    """An EventBridge bus, for consumers on AWS."""

    def __init__(self, client: "EventBridgeClient", name: str) -> None:
        self._client = client
        self._name = name

    def put(self, tenant: str, batch: list[Event]) -> None:
        """Publish the events of one change. EventBridge takes at most ten at a time, and one change
        makes fewer. Raises NotPublished."""
        response = self._client.put_events(
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
                for event in batch
            ]
        )
        if response["FailedEntryCount"]:
            (code, *_) = [e["ErrorCode"] for e in response["Entries"] if "ErrorCode" in e]
            raise NotPublished(code)


@dataclass(frozen=True)
class Publisher:
    endpoints: EndpointStore
    deliveries: DeliveryStore
    queue: DeliveryQueue
    bus: EventBus

    def publish(self, old: Callback | None, new: Callback) -> None:
        """Publish what a write changed. `old` None: the callback was just stored.

        Raises NotPublished and botocore's errors. Nothing is lost if it is then repeated."""
        new_events = events.derive_events(old, new)
        if not new_events:
            return
        for delivery in self._deliveries(new, new_events):
            self.deliveries.add(delivery)
            self.queue.put(delivery)
        self.bus.put(new.tenant, new_events)

    def _deliveries(self, callback: Callback, new_events: list[Event]) -> list[Delivery]:
        """Those of the selected events. A callback's own URL replaces its tenant's endpoint."""
        if callback.webhook:
            url, selection = callback.webhook.url, callback.webhook.events
        else:
            endpoint = self.endpoints.find(callback.tenant)
            if endpoint is None or endpoint.disabled_at:
                return []
            url, selection = None, list(endpoint.events)
        return [
            deliveries.new_delivery(callback.tenant, event, url)
            for event in new_events
            if events.is_selected(event.type, selection)
        ]
