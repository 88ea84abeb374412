"""Publish the events that follow from each write of a callback. Triggered by the table's stream."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import DynamoDBRecord

from callback import aws, settings
from callback.observability.redaction import redact_exceptions
from callback.storage.callbacks import from_image
from callback.storage.table import Table
from callback.webhooks.deliveries import DeliveryQueue, DeliveryStore
from callback.webhooks.endpoints import EndpointStore
from callback.webhooks.publishing import EventBus, Publisher

SETTINGS = settings.PublishEvents.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
endpoints = EndpointStore(table)
deliveries = DeliveryStore(table)
queue = DeliveryQueue(aws.sqs, SETTINGS.delivery_queue_url)
bus = EventBus(aws.events(), SETTINGS.event_bus_name)
publisher = Publisher(endpoints, deliveries, queue, bus)
processor = BatchProcessor(
    event_type=EventType.DynamoDBStreams, raise_on_entire_batch_failure=False
)


def publish(record: DynamoDBRecord) -> None:
    change = record.raw_event["dynamodb"]
    old = from_image(change["OldImage"]) if "OldImage" in change else None
    publisher.publish(old, from_image(change["NewImage"]))


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> Any:
    return process_partial_response(event, publish, processor, context)
