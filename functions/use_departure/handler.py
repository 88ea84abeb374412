"""Dial the legs that waited for their departure. Each message names a leg and its departure."""

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
from callback.call_control.pacing import LegDeparture, Pace
from callback.call_control.steps import CallControl
from callback.call_control.workflow import Workflow
from callback.carrier import adapter
from callback.carrier.credentials import CredentialStore
from callback.observability.redaction import redact_exceptions
from callback.storage.callbacks import CallbackStore
from callback.storage.departures import Departures
from callback.storage.parameters import Parameters
from callback.storage.table import Table
from callback.tenancy.policy_store import PolicyStore

SETTINGS = settings.UseDeparture.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = CallbackStore(table)
policies = PolicyStore(table)
workflow = Workflow(aws.step_functions)
credentials = CredentialStore(SETTINGS.carrier_secret_name, Parameters(aws.ssm))
carrier = adapter.connect_now(SETTINGS, credentials)
departures = Departures(table, SETTINGS.calls_per_second)
pace = Pace(departures, aws.sqs, SETTINGS.departure_queue_url)
control = CallControl(store, carrier, pace, workflow, policies)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def depart(record: SQSRecord) -> None:
    control.depart_leg(LegDeparture.from_message(json.loads(record.body)))


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> Any:
    return process_partial_response(event, depart, processor, context)
