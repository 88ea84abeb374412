"""Who asks for a callback without being a client of the API: texts, calls, and small devices.

Texts and calls come signed by the carrier, a device's packet with an API key.
"""

from datetime import timedelta
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SSMProvider

from callback import aws, http, missed_call, schema, settings, twiml
from callback.admission import Admission
from callback.credentials import CredentialStore
from callback.dialer import Dialer
from callback.discretion import discreet
from callback.models import Source
from callback.numbers import NumberStore
from callback.once import Once
from callback.signature import OF_A_TEXT, OF_AN_INBOUND_CALL, Form, Shapes, genuine_form
from callback.sms import SmsTrigger
from callback.store import CallbackStore
from callback.suppression import SuppressionList
from callback.tenants import Pepper
from callback.trigger_queue import TriggerQueue, TriggerStore
from callback.triggers import Intake
from callback.workflow import SettleQueue, Workflow

SETTINGS = settings.Trigger.read()
PUBLIC_URL = SETTINGS.public_url.rstrip("/")
logger = Logger()
client, table = aws.dynamodb(), SETTINGS.table_name
parameters = SSMProvider(boto3_client=aws.ssm())
credentials = CredentialStore(SETTINGS.carrier_secret_name, parameters)
pepper = Pepper(SETTINGS.key_pepper_name, parameters)
numbers = NumberStore(client, table)
suppressed = SuppressionList(client, table, pepper)
once = Once(client, table, pepper)
waiting = TriggerStore(client, table)
queue = TriggerQueue(waiting, aws.sqs, SETTINGS.trigger_queue_url)
store = CallbackStore(client, table, sip_domain=SETTINGS.sip_domain)
workflow = Workflow(
    aws.step_functions(),
    state_machine_arn=SETTINGS.state_machine_arn,
    queue=SettleQueue(aws.sqs, SETTINGS.settle_queue_url),
)
dialer = Dialer(
    credentials,
    api_url=SETTINGS.carrier_api_url,
    public_url=SETTINGS.public_url,
    sip_domain=SETTINGS.sip_domain,
)
admission = Admission(
    client,
    table,
    pepper,
    home_region=SETTINGS.home_region,
    sip_domain=SETTINGS.sip_domain,
)
intake = Intake(
    store,
    dialer,
    workflow,
    admission,
    home_region=SETTINGS.home_region,
    sip_domain=SETTINGS.sip_domain,
    retention=timedelta(days=int(SETTINGS.retention_days)),
)
sms = SmsTrigger(numbers, suppressed, once, intake)


def verified(event: http.Event, shapes: Shapes) -> Form:
    return genuine_form(
        PUBLIC_URL + http.route_path(event),
        http.body(event),
        http.header(event, "x-twilio-signature"),
        credentials,
        shapes,
    )


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
    required = SETTINGS.require_idempotency_key == "true"
    answer = intake.take(tenant, Source.PACKET, request, packet_id, key_required=required)
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
