"""Calls that wait in the carrier's queue.

Above its rate of calls per second the carrier takes a call and dials it later, after up to a day
(Twilio docs, call-resource, QueueTime): a party is then rung when nobody expects it any more. It
is stopped at its deadline; that it waited at all means that we ask for more than the carrier dials.
"""

from datetime import datetime, timedelta

from aws_lambda_powertools import Logger

from callback.lifecycle.models import Leg

logger = Logger(child=True)

HELD = "a call is held in the carrier queue"  # template.yaml raises the alarm on this message
_LONGEST = timedelta(seconds=5)


def was_queued_until(leg: Leg, at: datetime, callback_id: str) -> None:
    """Raise the alarm where the leg's call was in the queue for too long, or is in it still."""
    if leg.dialed_at and at - leg.dialed_at > _LONGEST:
        seconds = round((at - leg.dialed_at).total_seconds())
        logger.error(HELD, callback_id=callback_id, call_sid=leg.call_sid, seconds=seconds)
