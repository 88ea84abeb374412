"""The schedule and the lifetime of a delivery, attempt by attempt."""

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
def test_a_delivery_is_kept_for_a_week_after_each_attempt_is_due_even_if_it_is_postponed(
    delivery, wait
):
    assert wait <= LONGEST_WAIT
    attempts = 0
    while delivery.status is DeliveryStatus.PENDING:
        now = delivery.due_at
        assert delivery.expires_at == now + LIFETIME
        delivery = deliveries.retry_or_fail(delivery, "http_503", now, wait)
        attempts += 1
    assert attempts == len(SCHEDULE)
    assert (delivery.status, delivery.failed_at) == (DeliveryStatus.FAILED, now)
    assert delivery.expires_at == now + LIFETIME


def test_the_attempts_take_a_little_more_than_nine_days_if_every_one_is_postponed(delivery):
    """As webhooks/README.md and privacy/README.md say."""
    while delivery.status is DeliveryStatus.PENDING:
        last_attempt_at = delivery.due_at
        delivery = deliveries.retry_or_fail(delivery, "http_503", last_attempt_at, LONGEST_WAIT)
    assert timedelta(days=9) <= last_attempt_at - NOON <= timedelta(days=9, hours=3)
