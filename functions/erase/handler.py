"""Continue every open erasure, here and at the carrier. Runs once a minute."""

from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, settings
from callback.call_control.dialing import Calls
from callback.call_control.workflow import Workflow
from callback.carrier import adapter
from callback.carrier.credentials import CredentialStore
from callback.observability.redaction import redact_exceptions
from callback.privacy.erasing import Eraser
from callback.privacy.erasures import ErasureStore
from callback.storage.erasure import Holdings
from callback.storage.intake import IntakeStore
from callback.storage.parameters import Parameters
from callback.storage.table import Table

SETTINGS = settings.Erase.read()
# Time for one callback, or for one of the carrier's records, while the carrier is slow.
MILLISECONDS_FOR_ONE = 20_000
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = IntakeStore(table, sip_domain=SETTINGS.sip_domain)
erasures = ErasureStore(table)
workflow = Workflow(aws.step_functions)
credentials = CredentialStore(SETTINGS.carrier_secret_name, Parameters(aws.ssm))
carrier = adapter.connect(SETTINGS, credentials)


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> None:  # noqa: ARG001
    def out_of_time() -> bool:
        return bool(context.get_remaining_time_in_millis() < MILLISECONDS_FOR_ONE)

    calls = Calls(store, carrier)
    tally = Eraser(erasures, calls, Holdings(store), workflow, out_of_time).run()
    if tally.open:
        logger.info(
            "erased",
            open=tally.open,
            finished=tally.finished,
            callbacks=tally.callbacks,
            calls=tally.calls,
        )
