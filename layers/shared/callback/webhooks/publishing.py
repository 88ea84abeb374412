"""Publishes the events of changed callbacks, to webhooks and to the event bus.

A batch of changes is published with batches of requests. Nothing is lost at a crash: the stream
repeats what was not reported as done, a delivery is stored once, a superfluous message does no
harm, and a repeated event on the bus has the same id.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from callback import clock
from callback.lifecycle import events
from callback.lifecycle.events import Event
from callback.lifecycle.models import Callback
from callback.webhooks import deliveries
from callback.webhooks.breakers import Breaker, BreakerStore
from callback.webhooks.deliveries import (
    Delivery,
    DeliveryQueue,
    DeliveryStatus,
    DeliveryStore,
    Target,
)
from callback.webhooks.endpoints import Endpoint

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

SOURCE = "voice-callback"

# How long an endpoint is remembered. A tenant without one is looked up for each batch, so that
# a new endpoint misses nothing. Much shorter than `breakers.CLOSING`.
REMEMBERED = timedelta(seconds=5)

_MOST_ENTRIES = 10  # of one request (EventBridge, PutEvents)


class Change(NamedTuple):
    """A write of a callback's row. `old` None: the callback was just stored."""

    old: Callback | None
    new: Callback


class _Published(NamedTuple):
    """The events of one change that the bus carries, and the deliveries of those that an endpoint
    selects."""

    tenant: str
    callback_id: str
    for_bus: list[Event]
    deliveries: list[Delivery]


class EventBus:
    """An EventBridge bus, for consumers on AWS. Each event on it is paid.

    `only_callbacks`: it carries no events of legs.
    """

    def __init__(self, client: "EventBridgeClient", name: str, *, only_callbacks: bool) -> None:
        self._client = client
        self._name = name
        self._only_callbacks = only_callbacks

    def carries(self, event: Event) -> bool:
        return not (self._only_callbacks and event.type.startswith("leg."))

    def put_all(self, changes: Sequence[tuple[str, str, Sequence[Event]]]) -> int:
        """Publish the events of changes: (tenant, callback's id, events). Returns the number of
        changes before the first one with an event that the bus did not take.

        A request has one change of a callback only. So no event of a callback is published before
        one of an earlier change."""
        requests: list[list[int]] = []
        next_request: dict[str, int] = {}
        for number, (_, callback_id, new_events) in enumerate(changes):
            place = next_request.get(callback_id, 0)
            while place < len(requests) and (
                sum(len(changes[each][2]) for each in requests[place]) + len(new_events)
                > _MOST_ENTRIES
            ):
                place += 1
            if place == len(requests):
                requests.append([])
            requests[place].append(number)
            next_request[callback_id] = place + 1
        done: set[int] = set()
        for request in requests:
            refused = self._put([(number, *changes[number]) for number in request])
            done |= set(request) - refused
            if refused:
                break
        return next((at for at in range(len(changes)) if at not in done), len(changes))

    def _put(self, request: Sequence[tuple[int, str, str, Sequence[Event]]]) -> set[int]:
        """The numbers of the changes with an event that the bus did not take."""
        entries = [
            (number, self._entry(tenant, event))
            for number, tenant, _, new_events in request
            for event in new_events
        ]
        response = self._client.put_events(Entries=[entry for _, entry in entries])
        if not response["FailedEntryCount"]:
            return set()
        return {
            number
            for (number, _), result in zip(entries, response["Entries"], strict=True)
            if "ErrorCode" in result
        }

    def _entry(self, tenant: str, event: Event) -> "PutEventsRequestEntryTypeDef":
        detail = {"id": event.message_id, "tenant": tenant, **json.loads(event.payload)}
        return {
            "EventBusName": self._name,
            "Source": SOURCE,
            "DetailType": event.type,
            "Time": event.at,
            "Detail": json.dumps(detail),
        }


@dataclass(frozen=True)
class Publisher:
    """`remembered` are the endpoints that were read lately, with the end of their time."""

    breakers: BreakerStore
    deliveries: DeliveryStore
    queue: DeliveryQueue
    bus: EventBus
    remembered: dict[Target, tuple[datetime, Endpoint, Breaker]] = field(default_factory=dict)

    def publish(self, changes: Sequence[Change]) -> int:
        """Publish what writes changed, in order. Returns the number of changes before the first one
        that is not published; the stream repeats that one and all after it.

        Raises botocore's errors. Nothing is lost if everything is then repeated."""
        fresh: dict[Target, tuple[Endpoint | None, Breaker]] = {}
        batch = [self._derived(change, fresh) for change in changes]
        done = self._deliver(batch)
        with_events = [number for number in range(done) if batch[number].for_bus]
        published = self.bus.put_all([batch[number][:3] for number in with_events])
        return done if published == len(with_events) else with_events[published]

    def _deliver(self, batch: Sequence[_Published]) -> int:
        """Store and queue the deliveries. Returns the number of changes before the first one with a
        delivery that was not taken."""
        new = [each for published in batch for each in published.deliveries]
        stored, refused = self.deliveries.add_all(new)
        # One that waits in the index needs no message: it is parked, or was attempted before.
        due = [d for d in stored if d.status is DeliveryStatus.PENDING and not d.due_in]
        refused = refused | self.queue.put_all(due)
        return next(
            (
                number
                for number, published in enumerate(batch)
                if any(each.message_id in refused for each in published.deliveries)
            ),
            len(batch),
        )

    def _derived(
        self,
        change: Change,
        fresh: dict[Target, tuple[Endpoint | None, Breaker]],
    ) -> _Published:
        """A callback's own URL replaces its tenant's endpoint."""
        callback = change.new
        new_events = events.derive_events(change.old, callback)
        chosen: list[Delivery] = []
        if new_events:
            url = callback.webhook.url if callback.webhook else None
            target = Target.at(callback.tenant, url)
            if target not in fresh:
                fresh[target] = self._look_up(target)
            endpoint, breaker = fresh[target]
            for event in new_events:
                if events.is_selected(event.type, _selection(callback, endpoint)):
                    delivery = deliveries.new_delivery(callback.tenant, event, url)
                    chosen.append(deliveries.park(delivery) if breaker.is_down else delivery)
        for_bus = list(filter(self.bus.carries, new_events))
        return _Published(callback.tenant, callback.callback_id, for_bus, chosen)

    def _look_up(self, target: Target) -> tuple[Endpoint | None, Breaker]:
        now = clock.now()
        known = self.remembered.get(target)
        if known and now < known[0]:
            return known[1:]
        endpoint, breaker = self.breakers.read(target)
        if endpoint and not endpoint.disabled_at:
            self.remembered[target] = now + REMEMBERED, endpoint, breaker
        return endpoint, breaker


def _selection(callback: Callback, endpoint: Endpoint | None) -> Sequence[str]:
    if callback.webhook:
        return callback.webhook.events
    if endpoint is None or endpoint.disabled_at:
        return ()
    return endpoint.events
