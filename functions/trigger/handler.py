"""Who asks for a callback without being a client of the API: texts, calls, and small devices.

Texts and calls come signed by the carrier, a device's packet with an API key.
"""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SSMProvider

from callback import aws, carrier_door, http, missed_call, schema, settings, twiml
from callback.credentials import CredentialStore
from callback.discretion import discreet
from callback.intake import Intake
from callback.models import Source
from callback.numbers import NumberStore
from callback.once import Once
from callback.signature import OF_A_TEXT, OF_AN_INBOUND_CALL, Form, Shapes
from callback.sms import SmsTrigger
from callback.suppression import SuppressionList
from callback.table import Table
from callback.tenants import Pepper
from callback.trigger_queue import TriggerQueue, TriggerStore
from callback.workflow import SettleQueue, Workflow

SETTINGS = settings.Trigger.read()
PUBLIC_URL = SETTINGS.public_url.rstrip("/")
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
parameters = SSMProvider(boto3_client=aws.ssm())
credentials = CredentialStore(SETTINGS.carrier_secret_name, parameters)
pepper = Pepper(SETTINGS.key_pepper_name, parameters)
numbers = NumberStore(table)
suppressed = SuppressionList(table, pepper)
once = Once(table, pepper)
waiting = TriggerStore(table)
queue = TriggerQueue(waiting, aws.sqs, SETTINGS.trigger_queue_url)
workflow = Workflow(
    aws.step_functions(),
    state_machine_arn=SETTINGS.state_machine_arn,
    queue=SettleQueue(aws.sqs, SETTINGS.settle_queue_url),
)
intake = Intake.of(SETTINGS, table, credentials, pepper, workflow)
sms = SmsTrigger(numbers, suppressed, once, intake)


def verified(event: http.Event, shapes: Shapes) -> Form:
    return carrier_door.verified(event, shapes, PUBLIC_URL, credentials)


def text(event: http.Event) -> http.Answer:
    return http.twiml_reply(twiml.text_back(sms.reply(verified(event, OF_A_TEXT))))


def call(event: http.Event) -> http.Answer:
    form = verified(event, OF_AN_INBOUND_CALL)
    missed_call.arrived(numbers, suppressed, once, queue, form, home_region=SETTINGS.home_region)
    return http.twiml_reply(twiml.reject_as_busy())


def packet(event: http.Event) -> http.Answer:
    tenant = http.tenant(event)
    request, packet_id = schema.parse_packet(
        http.body(event), home_region=SETTINGS.home_region, sip_domain=SETTINGS.sip_domain
    )
    answer = intake.take(
        tenant,
        Source.PACKET,
        request,
        packet_id,
        key_required=SETTINGS.require_idempotency_key == "true",
    )
    return http.compact(answer)


ROUTES = {
    "POST /carrier/trigger/sms": text,
    "POST /carrier/trigger/call": call,
    "POST /voice/trigger/packet": packet,
}


@discreet
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> http.Answer:  # noqa: ARG001
    return http.answer(ROUTES, event)
