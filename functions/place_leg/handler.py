"""Begin a step of the workflow: place its legs. The carrier's events settle the step later."""

from datetime import datetime
from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, settings
from callback.call_control.pacing import Pace
from callback.call_control.steps import CallControl
from callback.call_control.workflow import Workflow
from callback.carrier import adapter
from callback.carrier.credentials import CredentialStore
from callback.lifecycle.models import Step, Waiting
from callback.observability.redaction import redact_exceptions
from callback.storage.callbacks import CallbackStore
from callback.storage.departures import Departures
from callback.storage.parameters import Parameters
from callback.storage.table import Table
from callback.tenancy.policy_store import PolicyStore

SETTINGS = settings.PlaceLeg.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = CallbackStore(table)
policies = PolicyStore(table)
workflow = Workflow(aws.step_functions)
credentials = CredentialStore(SETTINGS.carrier_secret_name, Parameters(aws.ssm))
carrier = adapter.connect_now(SETTINGS, credentials)
departures = Departures(table, SETTINGS.calls_per_second)
pace = Pace(departures, aws.sqs, SETTINGS.departure_queue_url)
control = CallControl(store, carrier, pace, workflow, policies)


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> None:  # noqa: ARG001
    """`event`: {"callback_id", "step": "first" | "second", "token", "entered_at": RFC 3339,
    "retry": 0, 1, …}."""
    task = Waiting(
        Step(event["step"]),
        event["token"],
        datetime.fromisoformat(event["entered_at"]),
        event["retry"],
    )
    control.begin_step(event["callback_id"], task)
