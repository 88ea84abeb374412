"""Handles one queued message: send the delivery if it is due, and queue it again until it is over.

A message leaves the queue only when its delivery is over or another message for it is queued. If
this worker dies on the way, the queue repeats the message, and the same id and bytes are sent.
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
from callback.webhooks.http_sender import NotAllowed, Response, Sender, Unreachable

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
        """Raises StoreContended and botocore's errors: the queue then repeats the message."""
        delivery = self.deliveries.find(tenant, message_id)
        if delivery is None or delivery.status is not DeliveryStatus.PENDING:
            return
        now = clock.now()
        if delivery.due_at > now:
            self.queue.put(delivery)
            return
        # The claim is a lease: it expires if this worker dies before writing the result.
        claimed = self.deliveries.change(delivery, replace(delivery, due_at=now + LEASE))
        if claimed is None:
            self.queue.put(replace(delivery, due_at=now + LEASE))
            return
        after = self.deliveries.change(claimed, self._attempt(claimed))
        if after is None:
            return  # too late: the lease has expired and another worker has claimed the delivery
        if after.status is DeliveryStatus.PENDING:
            self.queue.put(after)
        elif after.status is DeliveryStatus.FAILED:
            _log_failure(after)

    def _attempt(self, delivery: Delivery) -> Delivery:
        """The delivery after one attempt, or failed without one if there is no endpoint."""
        endpoint = self.endpoints.find(delivery.tenant)
        if endpoint is None:
            return deliveries.mark_failed(delivery, "endpoint_removed", clock.now())
        if delivery.url is None and endpoint.disabled_at:
            return deliveries.mark_failed(delivery, "endpoint_disabled", clock.now())
        url = delivery.url or endpoint.url
        try:
            response = self._post(url, delivery, endpoint)
        except NotAllowed as refusal:
            attempted = deliveries.count_attempt(delivery)
            return deliveries.mark_failed(attempted, refusal.code, clock.now())
        except Unreachable as failure:
            return deliveries.retry_or_fail(delivery, failure.code, clock.now(), timedelta())
        return self._after_response(url, delivery, response)

    def _post(self, url: str, delivery: Delivery, endpoint: Endpoint) -> Response:
        now = clock.now()
        keys = endpoint.secrets(now)
        signature_headers = signature.headers(delivery.message_id, delivery.body, now, keys)
        headers = {"Content-Type": "application/json", **signature_headers}
        return self.sender.post(url, delivery.body.encode(), headers)

    def _after_response(self, url: str, delivery: Delivery, response: Response) -> Delivery:
        now = clock.now()
        if 200 <= response.status <= 299:
            return deliveries.mark_delivered(delivery)
        reason = f"http_{response.status}"
        if response.status == _GONE:
            self.endpoints.disable(delivery.tenant, url)
            attempted = deliveries.count_attempt(delivery)
            return deliveries.mark_failed(attempted, reason, now)
        wait = retry_after(response.retry_after, now)
        return deliveries.retry_or_fail(delivery, reason, now, wait)


def retry_after(text: str | None, now: datetime) -> timedelta:
    """The wait that a Retry-After requests (RFC 9110, 10.2.3: seconds or a date).

    Zero for any other text. At most as long as the longest wait of the schedule."""
    if text is None:
        return timedelta()
    if text.isascii() and text.isdigit():
        wait = timedelta(seconds=min(int(text), 10**6))
    else:
        try:
            wait = parsedate_to_datetime(text) - now
        except (TypeError, ValueError, OverflowError):  # not a date, or one without a zone
            return timedelta()
    return min(max(wait, timedelta()), SCHEDULE[-1])


def _log_failure(delivery: Delivery) -> None:
    logger.error(
        FAILED,
        tenant=delivery.tenant,
        message_id=delivery.message_id,
        reason=delivery.reason,
        attempts=delivery.attempts,
    )
