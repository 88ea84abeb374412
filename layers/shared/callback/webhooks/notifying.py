"""Handles one queued message: send the delivery if it is due, and arrange its next attempt.

A wait of at most 15 minutes is one delayed message. A longer one is an entry in the table's index,
from which `resume_deliveries` takes it. A delivery for a target that is down is parked, unless it
is the probe (`breakers`).

A message leaves the queue only when its delivery is over, in the index, or named by another
message. If this worker dies on the way, the queue repeats the message, and the same id and bytes
are sent.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from aws_lambda_powertools import Logger

from callback import clock
from callback.errors import StoreContended
from callback.webhooks import breakers, deliveries, signature
from callback.webhooks.breakers import Breaker, BreakerStore, Outage
from callback.webhooks.deliveries import (
    AGE_LIMIT,
    GRACE,
    LEASE,
    LONGEST_DELAY,
    MOST_HOPS,
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

_GONE, _TOO_MANY = 410, 429


class _Attempt(NamedTuple):
    """`weight` of a failure that counts for the target's breaker; 0: the target is not down. `wait`
    is what its Retry-After requests."""

    after: Delivery
    weight: int = 0
    wait: timedelta = timedelta()


@dataclass(frozen=True)
class Notifier:
    endpoints: EndpointStore
    breakers: BreakerStore
    deliveries: DeliveryStore
    queue: DeliveryQueue
    sender: Sender

    def notify(self, tenant: str, message_id: str, hops: int = 0) -> None:
        """Raises StoreContended and botocore's errors: the queue then repeats the message."""
        delivery = self.deliveries.find(tenant, message_id)
        if delivery is None or delivery.status is not DeliveryStatus.PENDING:
            return
        now = clock.now()
        if delivery.due_at > now:
            self._check_later(delivery, hops)
            return
        endpoint, breaker = self.breakers.read(delivery.target)
        if breaker.parks(message_id) and _receives(endpoint, delivery):
            parked = deliveries.park(delivery)
            if parked != delivery and self.deliveries.change(delivery, parked) is None:
                self._check_later(replace(delivery, due_at=now + LEASE), hops)
            return
        # The claim is a lease: it expires if this worker dies before writing the result.
        claimed = self.deliveries.change(delivery, replace(delivery, due_at=now + LEASE))
        if claimed is None:
            self._check_later(replace(delivery, due_at=now + LEASE), hops)
            return
        attempt = self._attempt(claimed, endpoint)
        wanted = self._choose_wait(attempt, breaker, hops)
        after = self.deliveries.change(claimed, wanted)
        if after is None:
            return  # too late: the lease has expired and another worker has claimed the delivery
        if not attempt.weight:
            self._record_answer(after, breaker)
        if _has_message(after, hops):
            self.queue.put(after, hops + 1)
        elif after.status is DeliveryStatus.FAILED:
            _log_failure(after)

    def _check_later(self, delivery: Delivery, hops: int) -> None:
        """Have the delivery checked when it may be attempted: by its entry in the index, or by a
        message."""
        if delivery.due_in:
            return
        if hops < MOST_HOPS and delivery.due_at - clock.now() <= LONGEST_DELAY:
            self.queue.put(delivery, hops + 1)
        elif (
            self.deliveries.change(delivery, deliveries.index_from(delivery, delivery.due_at))
            is None
        ):
            raise StoreContended("Another worker has changed the delivery.")

    def _choose_wait(self, attempt: _Attempt, breaker: Breaker, hops: int) -> Delivery:
        """Count a failed attempt for the target's breaker. Returns the delivery with its next
        wait."""
        after, now = attempt.after, clock.now()
        is_pending = after.status is DeliveryStatus.PENDING
        if is_pending and attempt.weight and after.due_in == after.target.parked:
            # Nobody waits behind a target that is down for longer than the schedule takes.
            if not attempt.wait and now - after.since >= AGE_LIMIT:
                after, is_pending = deliveries.mark_failed(after, str(after.reason), now), False
            else:
                after = deliveries.postpone(after, now + breakers.PROBE_REST)
            attempt = attempt._replace(after=after)
        by_message = is_pending and after.due_at - now <= LONGEST_DELAY and hops < MOST_HOPS
        waiting = deliveries.index_from(
            after, after.due_at + (GRACE if by_message else timedelta())
        )
        if attempt.weight:
            is_probe = self._count(attempt, breaker, by_message=by_message)
            if not is_probe:
                waiting = deliveries.park(after)
        return waiting if is_pending else after

    def _count(self, attempt: _Attempt, breaker: Breaker, *, by_message: bool) -> bool:
        """Count a failed attempt. Returns whether the delivery follows its own schedule: its target
        is not down, or it stays the probe."""
        after, weight, wait = attempt
        probe, next_probe = None, clock.now() + max(wait, breakers.PROBE_GAP)
        if by_message:
            probe, next_probe = after.message_id, after.due_at + breakers.PROBE_LEASE
        outage = Outage(str(after.reason), probe, next_probe)
        if breaker.parks(after.message_id):
            return False
        if breaker.is_down:
            is_probe = self.breakers.probe_again(after.target, after.message_id, outage)
            return is_probe and by_message
        if breaker.failures + weight < breakers.LIMIT:
            self.breakers.add_failure(after.target, weight)
            return True
        return self.breakers.open(after.target, outage) and by_message

    def _record_answer(self, after: Delivery, breaker: Breaker) -> None:
        """The target has answered, or what is parked for it cannot be delivered any more."""
        if breaker.is_down:
            self.breakers.close(after.target)
        elif breaker.failures and after.status is DeliveryStatus.DELIVERED:
            self.breakers.forget_failures(after.target)

    def _attempt(self, delivery: Delivery, endpoint: Endpoint | None) -> _Attempt:
        """The delivery after one attempt, or failed without one if there is no endpoint."""
        if endpoint is None:
            return _Attempt(deliveries.mark_failed(delivery, "endpoint_removed", clock.now()))
        if delivery.url is None and endpoint.disabled_at:
            return _Attempt(deliveries.mark_failed(delivery, "endpoint_disabled", clock.now()))
        url = delivery.url or endpoint.url
        try:
            response = self._post(url, delivery, endpoint)
        except NotAllowed as refusal:
            attempted = deliveries.count_attempt(delivery)
            return _Attempt(deliveries.mark_failed(attempted, refusal.code, clock.now()))
        except Unreachable as failure:
            after = deliveries.retry_or_fail(delivery, failure.code, clock.now(), timedelta())
            return _Attempt(after, breakers.HARD)
        return self._after_response(url, delivery, response)

    def _post(self, url: str, delivery: Delivery, endpoint: Endpoint) -> Response:
        now = clock.now()
        keys = endpoint.secrets(now)
        signature_headers = signature.headers(delivery.message_id, delivery.body, now, keys)
        headers = {"Content-Type": "application/json", **signature_headers}
        return self.sender.post(url, delivery.body.encode(), headers)

    def _after_response(self, url: str, delivery: Delivery, response: Response) -> _Attempt:
        now = clock.now()
        if 200 <= response.status <= 299:
            return _Attempt(deliveries.mark_delivered(delivery))
        reason = f"http_{response.status}"
        if response.status == _GONE:
            self.endpoints.disable(delivery.tenant, url)
            attempted = deliveries.count_attempt(delivery)
            return _Attempt(deliveries.mark_failed(attempted, reason, now))
        wait = retry_after(response.retry_after, now)
        after = deliveries.retry_or_fail(delivery, reason, now, wait)
        is_overload = response.status >= 500 or response.status == _TOO_MANY
        return _Attempt(after, breakers.HARD if is_overload else breakers.SOFT, wait)


def _receives(endpoint: Endpoint | None, delivery: Delivery) -> bool:
    """Whether a delivery is still sent. Its target being down is no reason to keep another."""
    return endpoint is not None and not (delivery.url is None and endpoint.disabled_at)


def _has_message(after: Delivery, hops: int) -> bool:
    """Whether the wait of a delivery that is stored is a message."""
    is_own = after.due_in == deliveries.shard_of(after.message_id)
    is_short = after.due_at - clock.now() <= LONGEST_DELAY
    return after.status is DeliveryStatus.PENDING and is_own and is_short and hops < MOST_HOPS


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
