"""Dial legs at their departure. A message names a leg that waited for it, or offers a departure to
the next waiting callback."""

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
from callback.admission.admission import Admission
from callback.call_control.pacing import LegDeparture, Pace
from callback.call_control.steps import CallControl
from callback.call_control.workflow import Workflow
from callback.carrier import adapter
from callback.carrier.credentials import CredentialStore
from callback.numbering.destinations import DialPlan
from callback.observability.redaction import redact_exceptions
from callback.requests.first_legs import FirstLegs
from callback.storage.departures import Departures
from callback.storage.intake import IntakeStore
from callback.storage.parameters import Parameters
from callback.storage.table import Table
from callback.tenancy.pepper import Pepper

SETTINGS = settings.UseDeparture.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = IntakeStore(table, sip_domain=SETTINGS.sip_domain)
workflow = Workflow(aws.step_functions, state_machine_arn=SETTINGS.state_machine_arn)
parameters = Parameters(aws.ssm)
credentials = CredentialStore(SETTINGS.carrier_secret_name, parameters)
pepper = Pepper(SETTINGS.key_pepper_name, parameters)
admission = Admission(table, pepper, DialPlan(SETTINGS.home_region, SETTINGS.sip_domain))
carrier = adapter.connect_now(SETTINGS, credentials)
departures = Departures(table, SETTINGS.calls_per_second)
pace = Pace(departures, aws.sqs, SETTINGS.departure_queue_url)
control = CallControl(store, carrier, pace, workflow, admission.policies)
first_legs = FirstLegs(store, control, admission)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def depart(record: SQSRecord) -> None:
    message = json.loads(record.body)
    if message["kind"] == "first":
        first_legs.depart_next()
    else:
        control.depart_leg(LegDeparture.from_message(message))


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> Any:
    return process_partial_response(event, depart, processor, context)
