"""Calls that wait in the carrier's queue.

Above its rate of calls per second the carrier accepts a call and dials it later, after up to a day
(Twilio docs, call-resource, QueueTime). A party would then be called when nobody expects it any
more, so `reconcile` stops the call at its deadline. A queued call means that we request more calls
than the carrier dials.
"""

from datetime import datetime, timedelta

from aws_lambda_powertools import Logger

from callback.lifecycle.models import Leg

logger = Logger(child=True)

HELD = "a call is held in the carrier queue"  # an alarm of template.yaml counts this message
_LONGEST = timedelta(seconds=5)


def alarm_if_queued(leg: Leg, at: datetime, callback_id: str) -> None:
    """Log HELD if the leg's call has been in the queue for too long at that time."""
    if leg.dialed_at and at - leg.dialed_at > _LONGEST:
        seconds = round((at - leg.dialed_at).total_seconds())
        logger.error(HELD, callback_id=callback_id, call_sid=leg.call_sid, seconds=seconds)
