"""Who asks for a callback without being a client of the API: texts, calls, and small devices.

Texts and calls come signed by the carrier, a device's packet with an API key.
"""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SSMProvider

from callback import (
    aws,
    carrier_door,
    http,
    posting,
    responses,
    schema,
    settings,
    twiml,
)
from callback.admission import Admission
from callback.control import CallControl
from callback.credentials import CredentialStore
from callback.destinations import DialPlan
from callback.dialer import Dialer
from callback.discretion import discreet
from callback.intake import Intake, Requested
from callback.missed_call import MissedCallTrigger
from callback.models import Source
from callback.numbers import NumberStore
from callback.once import Once
from callback.signature import OF_A_TEXT, OF_AN_INBOUND_CALL, Form, Shapes
from callback.sms import SmsTrigger
from callback.store import CallbackStore
from callback.suppression import SuppressionList
from callback.tenants import Pepper
from callback.trigger_queue import TriggerQueue, TriggerStore
from callback.workflow import SettleQueue, Workflow

SETTINGS = settings.Trigger.read()
PUBLIC_URL = SETTINGS.public_url.rstrip("/")
logger = Logger(use_rfc3339=True)
client, table = aws.dynamodb(), SETTINGS.table_name
parameters = SSMProvider(boto3_client=aws.ssm())
credentials = CredentialStore(SETTINGS.carrier_secret_name, parameters)
pepper = Pepper(SETTINGS.key_pepper_name, parameters)
numbers = NumberStore(client, table)
suppressed = SuppressionList(client, table, pepper)
once = Once(client, table, pepper)
waiting = TriggerStore(client, table)
queue = TriggerQueue(waiting, aws.sqs, SETTINGS.trigger_queue_url)
workflow = Workflow(
    aws.step_functions(),
    state_machine_arn=SETTINGS.state_machine_arn,
    queue=SettleQueue(aws.sqs, SETTINGS.settle_queue_url),
)
store = CallbackStore(client, table, sip_domain=SETTINGS.sip_domain)
dialer = Dialer.of(SETTINGS, credentials)
dial_plan = DialPlan(SETTINGS.home_region, SETTINGS.sip_domain)
admission = Admission(client, table, pepper, dial_plan)
control = CallControl(store, dialer, workflow, admission.policies)
intake = Intake(control, admission, responses, retention_days=int(SETTINGS.retention_days))
sms = SmsTrigger(numbers, suppressed, once, intake)
missed_call = MissedCallTrigger(numbers, suppressed, once, queue, SETTINGS.home_region)


def verified(event: http.Event, shapes: Shapes) -> Form:
    return carrier_door.verified(event, shapes, PUBLIC_URL, credentials)


def text(event: http.Event) -> http.Answer:
    return http.twiml_reply(twiml.text_back(sms.reply(verified(event, OF_A_TEXT))))


def call(event: http.Event) -> http.Answer:
    missed_call.arrived(verified(event, OF_AN_INBOUND_CALL))
    return http.twiml_reply(twiml.reject_as_busy())


def packet(event: http.Event) -> http.Answer:
    tenant = http.tenant(event)
    request, packet_id = schema.parse_packet(
        http.body(event), home_region=SETTINGS.home_region, sip_domain=SETTINGS.sip_domain
    )
    requested = Requested(tenant, Source.PACKET, request)
    key = intake.key_of(requested, packet_id, required=SETTINGS.require_idempotency_key == "true")
    return responses.posted_packet(posting.post(intake, requested, key))


ROUTES = {
    "POST /carrier/trigger/sms": text,
    "POST /carrier/trigger/call": call,
    "POST /voice/trigger/packet": packet,
}


@discreet
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> http.Answer:  # noqa: ARG001
    return http.answer(ROUTES, event)
