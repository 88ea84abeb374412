"""What becomes of a delivery, attempt by attempt."""

from datetime import timedelta

import pytest

from callback.webhooks import deliveries
from callback.webhooks.deliveries import LIFETIME, SCHEDULE, Delivery, DeliveryStatus
from tests.support.build import NOON

LONGEST_WAIT = SCHEDULE[-1]  # notifying.retry_after


@pytest.fixture
def delivery():
    return Delivery("acme", "msg_1", "leg.ended", "{}", NOON, NOON, NOON + LIFETIME)


@pytest.mark.parametrize("wait", [timedelta(), timedelta(hours=24)])
def test_a_delivery_is_kept_for_a_week_after_it_is_due_however_long_it_is_put_off(delivery, wait):
    assert wait <= LONGEST_WAIT
    waits = 0
    while delivery.status is DeliveryStatus.PENDING:
        now = delivery.due_at
        assert delivery.expires_at == now + LIFETIME
        delivery = deliveries.refused(delivery, "http_503", now, wait)
        waits += 1
    assert waits == len(SCHEDULE)
    assert (delivery.status, delivery.failed_at) == (DeliveryStatus.FAILED, now)
    assert delivery.expires_at == now + LIFETIME


def test_who_is_put_off_every_time_is_tried_for_nine_days_and_a_little_more(delivery):
    """As webhooks/README.md and privacy/README.md say."""
    while delivery.status is DeliveryStatus.PENDING:
        tried_last = delivery.due_at
        delivery = deliveries.refused(delivery, "http_503", tried_last, LONGEST_WAIT)
    assert timedelta(days=9) <= tried_last - NOON <= timedelta(days=9, hours=3)
