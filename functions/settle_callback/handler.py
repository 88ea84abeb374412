"""Repeat the settlements that Step Functions refused. Each message holds one callback's id."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from callback import aws, settings
from callback.call_control.workflow import Workflow
from callback.observability.redaction import redact_exceptions
from callback.storage.callbacks import CallbackStore
from callback.storage.table import Table

SETTINGS = settings.SettleCallback.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = CallbackStore(table)
workflow = Workflow(aws.step_functions)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def settle(record: SQSRecord) -> None:
    workflow.settle(store.get(record.body))


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> Any:
    return process_partial_response(event, settle, processor, context)
