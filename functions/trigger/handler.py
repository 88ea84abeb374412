"""Endpoints for callback requests from outside the API: texts, calls, and packets of small devices.

The carrier signs texts and calls. A device's packet comes with an API key.
"""

from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, http, settings
from callback.admission.admission import Admission
from callback.api import responses
from callback.call_control.pacing import Pace
from callback.call_control.steps import CallControl
from callback.call_control.workflow import SettleQueue, Workflow
from callback.carrier import adapter
from callback.carrier.credentials import CredentialStore
from callback.carrier.instructions import Reject
from callback.carrier.twilio import door, events, twiml
from callback.carrier.twilio.signature import OF_A_TEXT, OF_AN_INBOUND_CALL, Form, Shapes
from callback.lifecycle.models import Source
from callback.numbering.destinations import DialPlan
from callback.observability.redaction import redact_exceptions
from callback.requests import idempotent, schema
from callback.requests.intake import Intake, Requested
from callback.storage.departures import Departures
from callback.storage.intake import IntakeStore
from callback.storage.parameters import Parameters
from callback.storage.table import Table
from callback.tenancy.numbers import NumberStore
from callback.tenancy.pepper import Pepper
from callback.tenancy.suppression import SuppressionList
from callback.triggers.missed_call import MissedCallTrigger
from callback.triggers.queue import TriggerQueue, TriggerStore
from callback.triggers.sms import SmsTrigger
from callback.triggers.throttle import Throttle

SETTINGS = settings.Trigger.read()
PUBLIC_URL = SETTINGS.public_url.rstrip("/")
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
parameters = Parameters(aws.ssm)
credentials = CredentialStore(SETTINGS.carrier_secret_name, parameters)
pepper = Pepper(SETTINGS.key_pepper_name, parameters)
numbers = NumberStore(table)
suppression_list = SuppressionList(table, pepper)
throttle = Throttle(table, pepper)
triggers = TriggerStore(table)
queue = TriggerQueue(triggers, aws.sqs, SETTINGS.trigger_queue_url)
workflow = Workflow(
    aws.step_functions,
    state_machine_arn=SETTINGS.state_machine_arn,
    queue=SettleQueue(aws.sqs, SETTINGS.settle_queue_url),
)
store = IntakeStore(table, sip_domain=SETTINGS.sip_domain)
carrier = adapter.connect(SETTINGS, credentials)
departures = Departures(table, SETTINGS.calls_per_second)
pace = Pace(departures, aws.sqs, SETTINGS.departure_queue_url)
dial_plan = DialPlan(SETTINGS.home_region, SETTINGS.sip_domain)
admission = Admission(table, pepper, dial_plan)
control = CallControl(store, carrier, pace, workflow, admission.policies)
intake = Intake(store, control, admission, responses, retention_days=int(SETTINGS.retention_days))
sms = SmsTrigger(numbers, suppression_list, throttle, intake)
missed_call = MissedCallTrigger(numbers, suppression_list, throttle, queue, SETTINGS.home_region)


def verified_form(event: http.Event, shapes: Shapes) -> Form:
    return door.verified_form(event, shapes, PUBLIC_URL, credentials)


def receive_text(event: http.Event) -> http.Response:
    message = events.inbound_text(verified_form(event, OF_A_TEXT))
    return http.xml_reply(twiml.text_back(sms.reply(message)))


def receive_call(event: http.Event) -> http.Response:
    missed_call.handle(events.inbound_call(verified_form(event, OF_AN_INBOUND_CALL)))
    return http.xml_reply(twiml.render([Reject()]))


def receive_packet(event: http.Event) -> http.Response:
    tenant = http.tenant(event)
    request, packet_id = schema.parse_packet(
        http.body(event), home_region=SETTINGS.home_region, sip_domain=SETTINGS.sip_domain
    )
    requested = Requested(tenant, Source.PACKET, request)
    key = intake.key_of(requested, packet_id, required=SETTINGS.require_idempotency_key == "true")
    return responses.posted_packet(idempotent.post(intake, requested, key))


ROUTES = {
    "POST /carrier/trigger/sms": receive_text,
    "POST /carrier/trigger/call": receive_call,
    "POST /voice/trigger/packet": receive_packet,
}


@redact_exceptions
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> http.Response:  # noqa: ARG001
    return http.dispatch(ROUTES, event)
