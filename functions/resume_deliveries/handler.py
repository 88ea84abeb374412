"""Send a message for each webhook delivery that is due. Runs once a minute."""

from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, settings
from callback.observability.redaction import redact_exceptions
from callback.storage.table import Table
from callback.webhooks.breakers import BreakerStore
from callback.webhooks.deliveries import DeliveryQueue, DeliveryStore
from callback.webhooks.resuming import Resumption

SETTINGS = settings.ResumeDeliveries.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
breakers = BreakerStore(table)
deliveries = DeliveryStore(table)
queue = DeliveryQueue(aws.sqs, SETTINGS.delivery_queue_url)


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> None:  # noqa: ARG001
    tally = Resumption(breakers, deliveries, queue).run()
    logger.info("resumed deliveries", sent=tally.sent, failed=tally.failed)
