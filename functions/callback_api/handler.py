"""The client's endpoint for callbacks: POST, GET and DELETE /voice/call/callback."""

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
from callback.lifecycle.models import Source
from callback.numbering.destinations import DialPlan
from callback.observability.redaction import redact_exceptions
from callback.requests import cancellation, dry_run, idempotent, lookup
from callback.requests.intake import Intake, Requested
from callback.storage.departures import Departures
from callback.storage.intake import IntakeStore
from callback.storage.parameters import Parameters
from callback.storage.table import Table
from callback.tenancy.pepper import Pepper
from callback.webhooks import http_sender

SETTINGS = settings.CallbackApi.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
webhook_rules = http_sender.PUBLIC
workflow = Workflow(
    aws.step_functions,
    state_machine_arn=SETTINGS.state_machine_arn,
    queue=SettleQueue(aws.sqs, SETTINGS.settle_queue_url),
)
parameters = Parameters(aws.ssm)
credentials = CredentialStore(SETTINGS.carrier_secret_name, parameters)
pepper = Pepper(SETTINGS.key_pepper_name, parameters)
store = IntakeStore(table, sip_domain=SETTINGS.sip_domain)
carrier = adapter.connect(SETTINGS, credentials)
departures = Departures(table, SETTINGS.calls_per_second)
pace = Pace(departures, aws.sqs, SETTINGS.departure_queue_url)
dial_plan = DialPlan(SETTINGS.home_region, SETTINGS.sip_domain)
admission = Admission(table, pepper, dial_plan)
control = CallControl(store, carrier, pace, workflow, admission.policies)
intake = Intake(store, control, admission, responses, retention_days=int(SETTINGS.retention_days))


# The request models are imported by what parses a request: pydantic is not needed otherwise.


def create(event: http.Event) -> http.Response:
    from callback.requests import schema  # noqa: PLC0415

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
        return responses.rehearsed(dry_run.rehearse(intake, requested))
    return responses.posted(idempotent.post(intake, requested, key))


def show(event: http.Event) -> http.Response:
    callback = lookup.get(store, http.tenant(event), http.path(event, "callback_id"))
    return responses.shown(callback)


def show_many(event: http.Event) -> http.Response:
    from callback.requests import schema  # noqa: PLC0415

    tenant = http.tenant(event)
    page = lookup.page(store.listings, tenant, schema.parse_list(http.query(event)))
    return responses.listed(page)


def cancel(event: http.Event) -> http.Response:
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


@redact_exceptions
@logger.inject_lambda_context
def handler(event: http.Event, context: Any) -> http.Response:  # noqa: ARG001
    return http.dispatch(ROUTES, event, with_parameters=WITH_PARAMETERS)
