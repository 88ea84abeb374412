"""Publish the events that follow from each write of a callback. Triggered by the table's stream."""

from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, settings
from callback.observability.redaction import redact_exceptions
from callback.storage.callbacks import from_image
from callback.storage.table import Table
from callback.webhooks.breakers import BreakerStore
from callback.webhooks.deliveries import DeliveryQueue, DeliveryStore
from callback.webhooks.publishing import Change, EventBus, Publisher

SETTINGS = settings.PublishEvents.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
deliveries = DeliveryStore(table)
queue = DeliveryQueue(aws.sqs, SETTINGS.delivery_queue_url)
bus = EventBus(
    aws.events(), SETTINGS.event_bus_name, only_callbacks=SETTINGS.bus_events == "callbacks"
)
publisher = Publisher(BreakerStore(table), deliveries, queue, bus)


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001
    """If it raises, Lambda halves the batch, so a write that cannot be read ends up alone."""
    records = [record["dynamodb"] for record in event["Records"]]
    done = publisher.publish([change_of(record) for record in records])
    # Lambda repeats this write and all after it (Lambda Developer Guide, "Partial batch response").
    failed = [record["SequenceNumber"] for record in records[done : done + 1]]
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}


def change_of(record: dict[str, Any]) -> Change:
    old = from_image(record["OldImage"]) if "OldImage" in record else None
    return Change(old, from_image(record["NewImage"]))
