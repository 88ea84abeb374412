"""Plan the departures of waiting callbacks for the coming minute. Runs once a minute."""

from typing import Any

from aws_lambda_powertools import Logger

from callback import aws, settings
from callback.call_control.pacing import Pace
from callback.observability.redaction import redact_exceptions
from callback.requests import departure_plan
from callback.storage.callbacks import CallbackStore
from callback.storage.departures import Departures
from callback.storage.table import Table

SETTINGS = settings.PlanDepartures.read()
logger = Logger(use_rfc3339=True)
table = Table(aws.dynamodb(), SETTINGS.table_name)
store = CallbackStore(table)
departures = Departures(table, SETTINGS.calls_per_second)
pace = Pace(departures, aws.sqs, SETTINGS.departure_queue_url)


@redact_exceptions
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> None:  # noqa: ARG001
    tally = departure_plan.plan_minute(store, pace)
    logger.info(
        "planned departures", waiting=tally.waiting, expired=tally.expired, offers=tally.offers
    )
