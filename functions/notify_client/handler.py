"""Deliver events to clients' endpoints. Each message names one delivery.

It connects to servers that strangers chose. Its role therefore permits nothing else.
"""

import json
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from callback import aws, settings
from callback.observability.redaction import redact_exceptions
from callback.storage.table import Table
from callback.webhooks.breakers import BreakerStore
from callback.webhooks.deliveries import DeliveryQueue, DeliveryStore
from callback.webhooks.endpoints import EndpointStore
from callback.webhooks.http_sender import Sender
from callback.webhooks.notifying import Notifier

SETTINGS = settings.NotifyClient.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
endpoints = EndpointStore(table)
breakers = BreakerStore(table)
deliveries = DeliveryStore(table)
queue = DeliveryQueue(aws.sqs, SETTINGS.delivery_queue_url)
sender = Sender()
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def notify(record: SQSRecord) -> None:
    message = json.loads(record.body)
    notifier = Notifier(endpoints, breakers, deliveries, queue, sender)
    notifier.notify(message["tenant"], message["message_id"], message.get("hops", 0))


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> Any:
    return process_partial_response(event, notify, processor, context)
