"""Finds the deliveries that are due in the table's index, and sends a message for each.

Runs once a minute. It reads each group of the index, the earliest entries first, and serves the
tenants in turn. It does a bounded amount of work; the next run continues.

A breaker in the index is looked at, too. If its target is down, parked deliveries that are too old
fail, and the first that is due becomes the probe. If the target is back, parked deliveries are
released, the oldest first.

Each entry is moved to a later time before its message is sent. If this function dies in between,
the entry is found again.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from aws_lambda_powertools import Logger

from callback import clock
from callback.lifecycle.models import to_text
from callback.storage.table import MOST_READ
from callback.webhooks import breakers, deliveries
from callback.webhooks.breakers import Breaker, BreakerStore
from callback.webhooks.deliveries import (
    AGE_LIMIT,
    Delivery,
    DeliveryQueue,
    DeliveryStatus,
    DeliveryStore,
    Entry,
    Target,
)
from callback.webhooks.notifying import FAILED

logger = Logger(child=True)

# Entries of the coming minute get their message now, with a delay. So they are not late.
AHEAD = timedelta(minutes=1)

# When a delivery is looked at again after its message. Longer than messages usually wait when many
# are due, so that they do not multiply.
LOOK_AGAIN_AFTER = timedelta(minutes=15)

# In one run: entries read of each group; deliveries released of each target that is back; parked
# deliveries of each target that fail of age; and messages sent.
PAGE, RELEASED, EXPIRED, MOST = 500, 600, 1000, 2000


class Tally(NamedTuple):
    """What a run did."""

    sent: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Resumption:
    breakers: BreakerStore
    deliveries: DeliveryStore
    queue: DeliveryQueue

    def run(self) -> Tally:
        """Raises botocore's errors: the next run does what this one did not."""
        now = clock.now()
        entries = [
            entry
            for group in deliveries.shards()
            for entry in self.deliveries.due(group, now + AHEAD, PAGE)
        ]
        entries.sort(key=lambda entry: entry.due_at)
        due: dict[str, list[Entry]] = {}
        failed = 0
        for entry in entries:
            if entry.message_id:
                due.setdefault(entry.tenant, []).append(entry)
            else:
                released, expired = self._look_at(entry, now)
                due.setdefault(entry.tenant, []).extend(released)
                failed += expired
        sent = 0
        chosen = islice(_in_turn(list(due.values())), MOST)
        while part := list(islice(chosen, deliveries.MOST_MESSAGES)):
            # What is released is spread over the minute, in order.
            spread = min(AHEAD - timedelta(seconds=1), sent * AHEAD / RELEASED)
            sent += self._send(part, now, now + spread)
        return Tally(sent, failed)

    def _send(self, entries: Sequence[Entry], now: datetime, released_at: datetime) -> int:
        """Move the entries and send their messages. Returns the number of messages."""
        found = self.deliveries.read([(each.tenant, str(each.message_id)) for each in entries])
        moved: list[Delivery] = []
        for entry in entries:
            delivery = found.get(str(entry.message_id))
            if delivery and _is_current(entry, delivery):
                due_at = max(delivery.due_at, now)
                is_parked = delivery.due_in == delivery.target.parked
                if is_parked and not now < delivery.due_at <= now + deliveries.LEASE:
                    due_at = released_at  # unless a worker has claimed it, as the probe
                next_look = deliveries.index_from(
                    replace(delivery, due_at=due_at), due_at + LOOK_AGAIN_AFTER
                )
                if after := self.deliveries.change(delivery, next_look):
                    moved.append(after)
        self.queue.put_all(moved)
        return len(moved)

    def _look_at(self, entry: Entry, now: datetime) -> tuple[list[Entry], int]:
        """The parked deliveries to release, and the number of those that failed of age."""
        target = breakers.target_at(entry.tenant, entry.sort_key)
        breaker = self.breakers.find(target)
        if breaker is None or breaker.due_at != entry.due_at:
            return [], 0  # the entry is out of date
        if breaker.is_down:
            failed = self._fail_of_age(target, breaker, now)
            self._choose_probe(target, breaker, now)
            return [], failed
        parked = self.deliveries.due(target.parked, now, RELEASED)
        if parked or str(breaker.closed_at) > to_text(now - breakers.CLOSING):
            self.breakers.look_later(target, breaker, now + AHEAD)
        else:
            self.breakers.remove_closed(target, breaker)
        return parked, 0

    def _choose_probe(self, target: Target, breaker: Breaker, now: datetime) -> None:
        """The first parked delivery that is due. One that was the probe is due much later."""
        parked = self._parked(self.deliveries.due(target.parked, now, MOST_READ))
        first = next((each for each in parked if each.due_at <= now + AHEAD), None)
        if first:
            if self.breakers.choose(target, breaker, first.message_id):
                self.queue.put_all([first])
        elif parked:
            self.breakers.look_later(target, breaker, min(each.due_at for each in parked))
        elif breaker.probe and self._is_pending(target.tenant, breaker.probe):
            self.breakers.look_later(target, breaker, now + breakers.PROBE_LEASE)
        else:  # nobody is left to probe: the next delivery is attempted
            self.breakers.close(target)

    def _parked(self, entries: Sequence[Entry]) -> list[Delivery]:
        """In order. The index may still have some that are not parked any more."""
        found = self.deliveries.read([(each.tenant, str(each.message_id)) for each in entries])
        rows = [(entry, found.get(str(entry.message_id))) for entry in entries]
        return [delivery for entry, delivery in rows if delivery and _is_current(entry, delivery)]

    def _is_pending(self, tenant: str, message_id: str) -> bool:
        probe = self.deliveries.find(tenant, message_id)
        return probe is not None and probe.status is DeliveryStatus.PENDING

    def _fail_of_age(self, target: Target, breaker: Breaker, now: datetime) -> int:
        """Those that wait for their own next attempt are left alone."""
        old = self._parked(self.deliveries.due(target.parked, now - AGE_LIMIT, EXPIRED))
        failed = self.deliveries.fail_all(
            [
                (each, deliveries.mark_failed(each, each.reason or str(breaker.reason), now))
                for each in old
                if each.due_at <= now - breakers.PROBE_GAP
            ]
        )
        if failed:
            logger.error(FAILED, tenant=target.tenant, reason=breaker.reason, count=failed)
        return failed


def _is_current(entry: Entry, delivery: Delivery) -> bool:
    """Whether the index's entry is up to date."""
    look_at = delivery.look_at
    is_pending = delivery.status is DeliveryStatus.PENDING
    return is_pending and look_at is not None and to_text(look_at) == entry.due_at


def _in_turn(groups: Sequence[Sequence[Entry]]) -> Iterator[Entry]:
    """One of each group in turn, until all are through."""
    waiting = deque(deque(group) for group in groups if group)
    while waiting:
        group = waiting.popleft()
        yield group.popleft()
        if group:
            waiting.append(group)
