"""The workflow's last step, and its safety net: close a callback in whatever state it is."""

from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, settings
from callback.call_control import workflow
from callback.call_control.dialing import Calls
from callback.carrier import adapter
from callback.carrier.credentials import CredentialStore
from callback.observability.redaction import redact_exceptions
from callback.storage.callbacks import CallbackStore
from callback.storage.parameters import Parameters
from callback.storage.table import Table

SETTINGS = settings.CloseCallback.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = CallbackStore(table)
credentials = CredentialStore(SETTINGS.carrier_secret_name, Parameters(aws.ssm))
carrier = adapter.connect(SETTINGS, credentials)
calls = Calls(store, carrier)


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> None:  # noqa: ARG001
    """`event`: the execution's state, or EventBridge's report that an execution did not succeed."""
    callback_id, reason = workflow.parse_closing(event)
    calls.close_unless_erased(callback_id, reason)
