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
    rehearsal,
    schema,
    settings,
    views,
)
from callback.credentials import CredentialStore
from callback.discretion import discreet
from callback.intake import Intake
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
intake = Intake.of(SETTINGS, table, credentials, pepper, workflow)


def create(event: http.Event) -> http.Answer:
    tenant = http.tenant(event)
    query = schema.parse_create(http.query(event))
    request = schema.parse_callback(
        http.body(event),
        home_region=SETTINGS.home_region,
        sip_domain=SETTINGS.sip_domain,
        rules=webhook_rules,
    )
    key = intake.key_of(
        tenant,
        request,
        http.header(event, "idempotency-key"),
        required=SETTINGS.require_idempotency_key == "true",
    )
    if query.dry_run:
        return rehearsal.of(intake, tenant, request)
    return intake.post(tenant, Source.API, request, key)


def show(event: http.Event) -> http.Answer:
    callback = lookup.get(intake.store, http.tenant(event), http.path(event, "callback_id"))
    return http.json_reply(200, views.of(callback))


def show_many(event: http.Event) -> http.Answer:
    tenant = http.tenant(event)
    page = lookup.page(intake.store.listings, tenant, schema.parse_list(http.query(event)))
    return http.json_reply(
        200, {"callbacks": [views.of(c) for c in page.callbacks], "next_cursor": page.cursor}
    )


def cancel(event: http.Event) -> http.Answer:
    callback = cancellation.cancel(
        intake.store,
        workflow,
        tenant=http.tenant(event),
        callback_id=http.path(event, "callback_id"),
    )
    return http.json_reply(202, views.of(callback))


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
