"""Create the callback that a trigger requested. Each message holds one trigger's id."""

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
from callback.api import responses
from callback.call_control.pacing import Pace
from callback.call_control.steps import CallControl
from callback.call_control.workflow import Workflow
from callback.carrier import adapter
from callback.carrier.credentials import CredentialStore
from callback.numbering.destinations import DialPlan
from callback.observability.redaction import redact_exceptions
from callback.requests.intake import Intake
from callback.storage.departures import Departures
from callback.storage.intake import IntakeStore
from callback.storage.parameters import Parameters
from callback.storage.table import Table
from callback.tenancy.pepper import Pepper
from callback.tenancy.suppression import SuppressionList
from callback.tenancy.tenants import TenantStore
from callback.triggers.accepting import QueuedTriggers
from callback.triggers.queue import TriggerStore

SETTINGS = settings.AcceptTrigger.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
triggers = TriggerStore(table)
tenants = TenantStore(table)
parameters = Parameters(aws.ssm)
pepper = Pepper(SETTINGS.key_pepper_name, parameters)
suppression_list = SuppressionList(table, pepper)
workflow = Workflow(aws.step_functions, state_machine_arn=SETTINGS.state_machine_arn)
credentials = CredentialStore(SETTINGS.carrier_secret_name, parameters)
store = IntakeStore(table, sip_domain=SETTINGS.sip_domain)
carrier = adapter.connect_now(SETTINGS, credentials)
departures = Departures(table, SETTINGS.calls_per_second)
pace = Pace(departures, aws.sqs, SETTINGS.departure_queue_url)
dial_plan = DialPlan(SETTINGS.home_region, SETTINGS.sip_domain)
admission = Admission(table, pepper, dial_plan)
control = CallControl(store, carrier, pace, workflow, admission.policies)
intake = Intake(store, control, admission, responses, retention_days=int(SETTINGS.retention_days))
queued_triggers = QueuedTriggers(triggers, tenants, suppression_list, intake)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def accept(record: SQSRecord) -> None:
    queued_triggers.accept(record.body)


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> Any:
    return process_partial_response(event, accept, processor, context)
