"""Queue an EventBridge event of our own account that requests a callback.

The event is stored in the table and only its id is queued, so a dead letter holds no more than
the id. `accept_trigger` validates and accepts the event.
"""

from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, settings
from callback.lifecycle.models import Source
from callback.observability.redaction import redact_exceptions
from callback.storage.table import Table
from callback.triggers.queue import TriggerQueue, TriggerStore

SETTINGS = settings.TriggerEvent.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
triggers = TriggerStore(table)
queue = TriggerQueue(triggers, aws.sqs, SETTINGS.trigger_queue_url)


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> None:  # noqa: ARG001
    queue.put(f"event_{event['id']}", Source.EVENT, event["detail"])
