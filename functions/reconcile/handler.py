"""Compare every open callback with the carrier's calls, and repair it. Runs once a minute."""

from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, settings
from callback.call_control.dialing import Calls
from callback.call_control.reconcile import Reconciliation
from callback.call_control.workflow import Workflow
from callback.carrier import adapter
from callback.carrier.credentials import CredentialStore
from callback.observability.redaction import redact_exceptions
from callback.storage.callbacks import CallbackStore
from callback.storage.departures import Departures
from callback.storage.parameters import Parameters
from callback.storage.table import Table

SETTINGS = settings.Reconcile.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = CallbackStore(table)
workflow = Workflow(aws.step_functions, state_machine_arn=SETTINGS.state_machine_arn)
credentials = CredentialStore(SETTINGS.carrier_secret_name, Parameters(aws.ssm))
departures = Departures(table, SETTINGS.calls_per_second)
carrier = adapter.connect(SETTINGS, credentials)


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> None:  # noqa: ARG001
    tally = Reconciliation(Calls(store, carrier), workflow, departures).run()
    logger.info("reconciled", open=tally.open, mended=tally.mended, unasked=tally.unasked)
