"""Calls that wait in the carrier's queue.

Above its rate of calls per second the carrier accepts a call and dials it later, after up to a day
(Twilio docs, call-resource, QueueTime). A party would then be called when nobody expects it any
more, so `reconcile` stops the call at its deadline.
We send requests at the carrier's rate (see `departures`). A queued call means that the account's
rate is lower, or that other programs use it. Then we lower ours.
"""

from datetime import datetime, timedelta

from aws_lambda_powertools import Logger

from callback import clock
from callback.lifecycle.models import Leg
from callback.storage.departures import Departures

logger = Logger(child=True)

HELD = "a call is held in the carrier queue"  # an alarm of template.yaml counts this message
_LONGEST = timedelta(seconds=2)


def slow_down_if_queued(departures: Departures, leg: Leg, at: datetime, callback_id: str) -> None:
    """If the leg's call has been in the queue for too long at that time, log HELD and lower our
    rate of calls."""
    if leg.dialed_at is None or at - leg.dialed_at <= _LONGEST:
        return
    seconds = round((at - leg.dialed_at).total_seconds())
    logger.error(HELD, callback_id=callback_id, call_sid=leg.call_sid, seconds=seconds)
    if rate := departures.lower(clock.now()):
        logger.warning("our rate of calls is lowered", per_second=rate.effective, set=rate.set)
