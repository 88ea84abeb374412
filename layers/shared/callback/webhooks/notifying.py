"""One look at a delivery: send it if it is due, and see to it that it is looked at again.

A message in the queue is forgotten only when its delivery is over or another message for it is in
the queue; so whoever dies on the way is repeated by the queue, with the same id and bytes.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from aws_lambda_powertools import Logger

from callback import clock
from callback.webhooks import deliveries, signature
from callback.webhooks.deliveries import (
    LEASE,
    SCHEDULE,
    Delivery,
    DeliveryQueue,
    DeliveryStatus,
    DeliveryStore,
)
from callback.webhooks.endpoints import Endpoint, EndpointStore
from callback.webhooks.http_sender import NotAllowed, Reply, Sender, Unreachable

logger = Logger(child=True)

FAILED = "a webhook delivery failed for good"  # template.yaml raises the alarm on this message

_GONE = 410


@dataclass(frozen=True)
class Notifier:
    endpoints: EndpointStore
    deliveries: DeliveryStore
    queue: DeliveryQueue
    sender: Sender

    def notify(self, tenant: str, message_id: str) -> None:
        delivery = self.deliveries.find(tenant, message_id)
        if delivery is None or delivery.status is not DeliveryStatus.PENDING:
            return
        now = clock.now()
        if delivery.due_at > now:
            self.queue.put(delivery)
            return
        # Whoever claims it has it to himself for a while, and for ever if it does not die.
        claimed = self.deliveries.change(delivery, replace(delivery, due_at=now + LEASE))
        if claimed is None:
            self.queue.put(replace(delivery, due_at=now + LEASE))
            return
        done = self.deliveries.change(claimed, self._attempted(claimed))
        if done is None:
            return  # too late: the claim was given up, and somebody else has taken over
        if done.status is DeliveryStatus.PENDING:
            self.queue.put(done)
        elif done.status is DeliveryStatus.FAILED:
            _tell_of_failure(done)

    def _attempted(self, delivery: Delivery) -> Delivery:
        """What has become of the delivery after one attempt, if there is somebody to tell."""
        endpoint = self.endpoints.find(delivery.tenant)
        if endpoint is None:
            return deliveries.failed(delivery, "endpoint_removed", clock.now())
        if delivery.url is None and endpoint.disabled_at:
            return deliveries.failed(delivery, "endpoint_disabled", clock.now())
        url = delivery.url or endpoint.url
        try:
            reply = self._sent(url, delivery, endpoint)
        except NotAllowed as refusal:
            tried = replace(delivery, attempts=delivery.attempts + 1)
            return deliveries.failed(tried, refusal.code, clock.now())
        except Unreachable as trouble:
            return deliveries.refused(delivery, trouble.code, clock.now(), timedelta())
        return self._answered(url, delivery, reply)

    def _sent(self, url: str, delivery: Delivery, endpoint: Endpoint) -> Reply:
        now = clock.now()
        signed = signature.headers(delivery.message_id, delivery.body, now, endpoint.secrets(now))
        headers = {"Content-Type": "application/json", **signed}
        return self.sender.post(url, delivery.body.encode(), headers)

    def _answered(self, url: str, delivery: Delivery, reply: Reply) -> Delivery:
        now = clock.now()
        if 200 <= reply.status <= 299:
            return deliveries.delivered(delivery)
        reason = f"http_{reply.status}"
        if reply.status == _GONE:
            self.endpoints.disable(delivery.tenant, url)
            tried = replace(delivery, attempts=delivery.attempts + 1)
            return deliveries.failed(tried, reason, now)
        return deliveries.refused(delivery, reason, now, retry_after(reply.retry_after, now))


def retry_after(text: str | None, now: datetime) -> timedelta:
    """What a Retry-After asks for (RFC 9110, 10.2.3: seconds or a date), as far as it is one and
    not longer than the schedule itself would ever wait."""
    if text is None:
        return timedelta()
    if text.isascii() and text.isdigit():
        asked = timedelta(seconds=min(int(text), 10**6))
    else:
        try:
            asked = parsedate_to_datetime(text) - now
        except (TypeError, ValueError, OverflowError):  # no date, or one without a zone
            return timedelta()
    return min(max(asked, timedelta()), SCHEDULE[-1])


def _tell_of_failure(delivery: Delivery) -> None:
    logger.error(
        FAILED,
        tenant=delivery.tenant,
        message_id=delivery.message_id,
        reason=delivery.reason,
        attempts=delivery.attempts,
    )
