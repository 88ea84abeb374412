"""The client's door: POST, GET and DELETE /voice/call/callback."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SSMProvider

from callback import (
    aws,
    cancellation,
    http,
    lookup,
    outbound,
    posting,
    rehearsal,
    responses,
    schema,
    settings,
)
from callback.admission import Admission
from callback.carrier.credentials import CredentialStore
from callback.carrier.twilio.client import TwilioCarrier
from callback.control import CallControl
from callback.destinations import DialPlan
from callback.discretion import discreet
from callback.intake import Intake, Requested
from callback.intake_store import IntakeStore
from callback.models import Source
from callback.table import Table
from callback.tenants import Pepper
from callback.workflow import SettleQueue, Workflow

SETTINGS = settings.CallbackApi.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
webhook_rules = outbound.PUBLIC
workflow = Workflow(
    aws.step_functions(),
    state_machine_arn=SETTINGS.state_machine_arn,
    queue=SettleQueue(aws.sqs, SETTINGS.settle_queue_url),
)
parameters = SSMProvider(boto3_client=aws.ssm())
credentials = CredentialStore(SETTINGS.carrier_secret_name, parameters)
pepper = Pepper(SETTINGS.key_pepper_name, parameters)
store = IntakeStore(table, sip_domain=SETTINGS.sip_domain)
carrier = TwilioCarrier.of(SETTINGS, credentials)
dial_plan = DialPlan(SETTINGS.home_region, SETTINGS.sip_domain)
admission = Admission(table, pepper, dial_plan)
control = CallControl(store, carrier, workflow, admission.policies)
intake = Intake(store, control, admission, responses, retention_days=int(SETTINGS.retention_days))


def create(event: http.Event) -> http.Answer:
    tenant = http.tenant(event)
    query = schema.parse_create(http.query(event))
    request = schema.parse_callback(
        http.body(event),
        home_region=SETTINGS.home_region,
        sip_domain=SETTINGS.sip_domain,
        rules=webhook_rules,
    )
    requested = Requested(tenant, Source.API, request)
    key = intake.key_of(
        requested,
        http.header(event, "idempotency-key"),
        required=SETTINGS.require_idempotency_key == "true",
    )
    if query.dry_run:
        return responses.rehearsed(rehearsal.rehearse(intake, requested))
    return responses.posted(posting.post(intake, requested, key))


def show(event: http.Event) -> http.Answer:
    callback = lookup.get(store, http.tenant(event), http.path(event, "callback_id"))
    return responses.shown(callback)


def show_many(event: http.Event) -> http.Answer:
    tenant = http.tenant(event)
    page = lookup.page(store.listings, tenant, schema.parse_list(http.query(event)))
    return responses.listed(page)


def cancel(event: http.Event) -> http.Answer:
    callback = cancellation.cancel(
        store,
        workflow,
        tenant=http.tenant(event),
        callback_id=http.path(event, "callback_id"),
    )
    return responses.canceled(callback)


ROUTES = {
    "POST /voice/call/callback": create,
    "GET /voice/call/callback": show_many,
    "GET /voice/call/callback/{callback_id}": show,
    "DELETE /voice/call/callback/{callback_id}": cancel,
}

WITH_PARAMETERS = ("POST /voice/call/callback", "GET /voice/call/callback")


@discreet
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> http.Answer:  # noqa: ARG001
    return http.answer(ROUTES, event, with_parameters=WITH_PARAMETERS)
