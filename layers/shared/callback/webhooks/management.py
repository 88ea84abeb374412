"""A client manages its webhook endpoint: set it, test it, replay failed deliveries."""

import uuid
from typing import TYPE_CHECKING, NamedTuple

from callback import clock
from callback.errors import InvalidRequest
from callback.lifecycle import events
from callback.lifecycle.models import maybe_text, to_text
from callback.webhooks import deliveries
from callback.webhooks.breakers import BreakerStore
from callback.webhooks.deliveries import Delivery, DeliveryQueue, DeliveryStore, Page, Target
from callback.webhooks.endpoints import Endpoint, EndpointStore
from callback.webhooks.http_sender import NotAllowed, Sender
from callback.webhooks.schema import EndpointRequest

if TYPE_CHECKING:  # no function but the document's needs the types
    from callback.webhooks.record import (
        DeliveryView,
        EndpointView,
        EndpointWithSecretView,
        FailedPageView,
    )


class Stores(NamedTuple):
    endpoints: EndpointStore
    breakers: BreakerStore


def put(
    stores: Stores, sender: Sender, tenant: str, request: EndpointRequest
) -> tuple[Endpoint, bool]:
    """Create or change the endpoint. Returns the endpoint and whether it is new.

    If the endpoint was down, what is parked for it is released.

    Raises InvalidRequest if the host cannot be resolved or has an address that is not public, and
    StoreContended."""
    try:
        sender.check(request.url)
    except NotAllowed as refusal:
        raise InvalidRequest.of_field("url", refusal.code, str(refusal)) from None
    stored = stores.endpoints.put(tenant, request.url, request.events)
    stores.breakers.close(Target.at(tenant, None))
    return stored


def remove(stores: Stores, tenant: str) -> None:
    """What is parked for the endpoint is released, and fails. Raises WebhookEndpointNotFound."""
    stores.endpoints.remove(tenant)
    stores.breakers.close(Target.at(tenant, None))


def test(
    endpoints: EndpointStore, store: DeliveryStore, queue: DeliveryQueue, tenant: str
) -> Delivery:
    """Send a sample event. Raises WebhookEndpointNotFound."""
    endpoints.get(tenant)
    now = clock.now()
    sample = Delivery(
        tenant=tenant,
        message_id=f"msg_test_{uuid.uuid4()}",
        type=events.TEST,
        body=events.payload(events.TEST, now, {}),
        created_at=now,
        due_at=now,
        expires_at=now + deliveries.LIFETIME,
    )
    store.add(deliveries.index_from(sample, now + deliveries.GRACE))
    queue.put(sample)
    return sample


def replay(store: DeliveryStore, queue: DeliveryQueue, tenant: str, message_id: str) -> Delivery:
    """Send a failed delivery again. If its message is not sent, the index has it.

    Raises DeliveryNotFound and StoreContended."""
    delivery = store.replay(tenant, message_id)
    queue.put(delivery)
    return delivery


def failed_view(page: Page) -> "FailedPageView":
    return {
        "failed": [delivery_view(delivery) for delivery in page.deliveries],
        "next_cursor": page.cursor,
    }


def endpoint_view(endpoint: Endpoint) -> "EndpointView":
    """Without its secret."""
    earlier = endpoint.still_signing(clock.now())
    return {
        "url": endpoint.url,
        "events": list(endpoint.events),
        "created_at": to_text(endpoint.created_at),
        "disabled_at": maybe_text(endpoint.disabled_at),
        "previous_secret_until": to_text(earlier[0].until) if earlier else None,
    }


def endpoint_with_secret_view(endpoint: Endpoint) -> "EndpointWithSecretView":
    """Only for the response to the request that made the secret."""
    return {**endpoint_view(endpoint), "secret": endpoint.secret}


def delivery_view(delivery: Delivery) -> "DeliveryView":
    return {
        "id": delivery.message_id,
        "type": delivery.type,
        "callback_id": delivery.callback_id,
        "sequence": delivery.sequence,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "reason": delivery.reason,
        "created_at": to_text(delivery.created_at),
        "failed_at": maybe_text(delivery.failed_at),
    }
