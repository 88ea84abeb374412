"""The client's door: POST, GET and DELETE /voice/call/callback."""

from datetime import timedelta
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SSMProvider

from callback import (
    aws,
    cancellation,
    http,
    idempotency,
    lookup,
    outbound,
    posting,
    rehearsal,
    schema,
    settings,
    views,
)
from callback.admission import Admission
from callback.credentials import CredentialStore
from callback.dialer import Dialer
from callback.discretion import discreet
from callback.store import CallbackStore
from callback.tenants import Pepper
from callback.workflow import SettleQueue, Workflow

SETTINGS = settings.CallbackApi.read()
RETENTION = timedelta(days=int(SETTINGS.retention_days))
logger = Logger()
client, table = aws.dynamodb(), SETTINGS.table_name
store = CallbackStore(client, table, sip_domain=SETTINGS.sip_domain)
webhook_rules = outbound.PUBLIC
workflow = Workflow(
    aws.step_functions(),
    state_machine_arn=SETTINGS.state_machine_arn,
    queue=SettleQueue(aws.sqs, SETTINGS.settle_queue_url),
)
parameters = SSMProvider(boto3_client=aws.ssm())
credentials = CredentialStore(SETTINGS.carrier_secret_name, parameters)
dialer = Dialer(
    credentials,
    api_url=SETTINGS.carrier_api_url,
    public_url=SETTINGS.public_url,
    sip_domain=SETTINGS.sip_domain,
)
pepper = Pepper(SETTINGS.key_pepper_name, parameters)
admission = Admission(
    client,
    table,
    pepper,
    home_region=SETTINGS.home_region,
    sip_domain=SETTINGS.sip_domain,
)


def create(event: http.Event) -> http.Answer:
    tenant = http.tenant(event)
    query = schema.parse_create(http.query(event))
    request = schema.parse_callback(
        http.body(event),
        home_region=SETTINGS.home_region,
        sip_domain=SETTINGS.sip_domain,
        rules=webhook_rules,
    )
    policy = admission.policies.standing(tenant).policy
    key = idempotency.key_of(
        http.header(event, "idempotency-key"),
        request,
        required=SETTINGS.require_idempotency_key == "true" or policy.require_idempotency_key,
    )
    if query.dry_run:
        return rehearsal.of(store, admission, tenant=tenant, request=request, retention=RETENTION)
    return posting.post(
        store,
        dialer,
        workflow,
        admission,
        tenant=tenant,
        request=request,
        retention=RETENTION,
        key=key,
    )


def show(event: http.Event) -> http.Answer:
    callback = lookup.get(store, http.tenant(event), http.path(event, "callback_id"))
    return http.json_reply(200, views.of(callback))


def show_many(event: http.Event) -> http.Answer:
    tenant = http.tenant(event)
    page = lookup.page(store, tenant, schema.parse_list(http.query(event)))
    return http.json_reply(
        200, {"callbacks": [views.of(c) for c in page.callbacks], "next_cursor": page.cursor}
    )


def cancel(event: http.Event) -> http.Answer:
    callback = cancellation.cancel(
        store,
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


@discreet
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> http.Answer:  # noqa: ARG001
    return http.answer(ROUTES, event)
