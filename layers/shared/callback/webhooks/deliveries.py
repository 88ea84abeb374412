"""One delivery for each event that somebody is told: its row, its schedule, its queue.

Rows, all under WEBHOOK#<tenant> in the table of the callbacks:

* MESSAGE#<message id>: the delivery, with the very bytes that are sent;
* FAILED#<time of the event>#<message id>: a dead letter, for as long as it is one.

Every write of a delivery is on condition that nobody wrote in between (`revision`), and every
message in the queue only says "look at this delivery". So a message too many does no harm, and
who dies after a write leaves a message that comes back.
"""

import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from callback import clock
from callback.errors import DeliveryNotFound, StoreContended
from callback.lifecycle.events import Event
from callback.lifecycle.models import to_text
from callback.storage import cursors
from callback.storage.table import (
    ABSENT,
    CONDITION_FAILED,
    Expression,
    Key,
    Row,
    Table,
    delete_row,
    key_row,
    put_row,
)
from callback.webhooks import endpoints

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# Before each attempt (Standard Webhooks 1.0.0, "Retry schedule", and two more days of it).
SCHEDULE = (
    timedelta(),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
_JITTER = 0.1

# Nothing about a delivery is kept longer, counted from when its last attempt is due, or from its
# failure. So who puts it off, as an endpoint may, puts off its end as well.
LIFETIME = timedelta(days=7)

# Longer than `notify_client` may run (template.yaml): a claim this old is nobody's.
LEASE = timedelta(seconds=60)

_LONGEST_DELAY = 900  # seconds (SQS, DelaySeconds)
_POSITION = re.compile(r"[0-9TZ:.-]{20,32}#[A-Za-z0-9_-]{1,100}", re.ASCII)


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True)
class Delivery:
    """`url` None: the tenant's endpoint, whichever it is at the time; `attempts` are those whose
    end is known; `due_at` is when the next may begin; `reason` is the last one's, if it failed."""

    tenant: str
    message_id: str
    type: str
    body: str
    created_at: datetime
    due_at: datetime
    expires_at: datetime
    callback_id: str | None = None
    sequence: int | None = None
    url: str | None = None
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0
    reason: str | None = None
    failed_at: datetime | None = None
    revision: int = 0


@dataclass(frozen=True)
class Page:
    """`cursor` None: nothing is left."""

    deliveries: list[Delivery]
    cursor: str | None


def of_event(tenant: str, event: Event, url: str | None) -> Delivery:
    now = clock.now()
    return Delivery(
        tenant=tenant,
        message_id=event.message_id,
        type=event.type,
        body=event.payload,
        created_at=now,
        due_at=now,
        expires_at=now + LIFETIME,
        callback_id=event.callback_id,
        sequence=event.sequence,
        url=url,
    )


def delay(message_id: str, attempt: int) -> timedelta:
    """How long after the attempt before it an attempt begins; attempts count from 0.

    The jitter is the message's own, so that those which failed together do not all come back
    together."""
    spread = zlib.crc32(f"{message_id}:{attempt}".encode()) / 0xFFFFFFFF  # 0 to 1
    return SCHEDULE[attempt] * (1 + _JITTER * (2 * spread - 1))


def delivered(before: Delivery) -> Delivery:
    return replace(
        before, status=DeliveryStatus.DELIVERED, attempts=before.attempts + 1, reason=None
    )


def refused(before: Delivery, reason: str, now: datetime, wait: timedelta) -> Delivery:
    """After a failed attempt: due again as scheduled, `wait` from now at the earliest; failed
    after the last one."""
    tried = replace(before, attempts=before.attempts + 1, reason=reason)
    if tried.attempts == len(SCHEDULE):
        return failed(tried, reason, now)
    due_at = now + max(wait, delay(before.message_id, tried.attempts))
    return replace(tried, due_at=due_at, expires_at=due_at + LIFETIME)


def failed(before: Delivery, reason: str, now: datetime) -> Delivery:
    """A dead letter: nobody tries again by itself."""
    return replace(
        before,
        status=DeliveryStatus.FAILED,
        reason=reason,
        failed_at=now,
        expires_at=now + LIFETIME,
    )


class DeliveryStore:
    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, delivery: Delivery) -> None:
        """Once; again changes nothing."""
        self._table.put(_row(delivery), ABSENT)

    def find(self, tenant: str, message_id: str) -> Delivery | None:
        """Strongly consistent; None for one that has expired as well."""
        row = self._table.get(_key(tenant, message_id))
        delivery = _delivery(row) if row else None
        return delivery if delivery and delivery.expires_at > clock.now() else None

    def change(self, before: Delivery, after: Delivery) -> Delivery | None:
        """What is stored then; None: somebody else was first, and nothing is written.

        Raises StoreContended where it is not written for any other reason."""
        after = replace(after, revision=before.revision + 1)
        unchanged = Expression("revision = :before", {":before": before.revision})
        was, is_now = (d.status is DeliveryStatus.FAILED for d in (before, after))
        if was == is_now:
            return after if self._table.put(_row(after), unchanged) else None
        listing = put_row(_failed_row(after)) if is_now else delete_row(_failed_key(before))
        reasons = self._table.transact(put_row(_row(after), unchanged), listing)
        if reasons is None:
            return after
        if reasons[0] == CONDITION_FAILED:
            return None
        raise StoreContended("Nothing was done, try again.")

    def failed(self, tenant: str, limit: int, cursor: str | None) -> Page:
        """Dead letters, the newest events first. Raises InvalidRequest for a cursor that no page
        gave."""
        position = _position(cursor)
        rows, last = self._table.last(
            Expression(
                "pk = :tenant AND begins_with(sk, :failed)",
                {":tenant": endpoints.partition(tenant), ":failed": "FAILED#"},
            ),
            limit=limit,
            before=_at(tenant, f"FAILED#{position}") if position else None,
        )
        now = clock.now()
        return Page(
            [each for each in map(_delivery, rows) if each.expires_at > now],
            cursors.encode_cursor(last[1].removeprefix("FAILED#")) if last else None,
        )

    def replay(self, tenant: str, message_id: str) -> Delivery:
        """A dead letter, due at once and with all its attempts before it. Raises
        DeliveryNotFound for any other, and StoreContended."""
        before = self.find(tenant, message_id)
        if before is None or before.status is not DeliveryStatus.FAILED:
            raise DeliveryNotFound("No failed delivery has this id.")
        now = clock.now()
        again = replace(
            before,
            status=DeliveryStatus.PENDING,
            attempts=0,
            reason=None,
            failed_at=None,
            due_at=now,
            expires_at=now + LIFETIME,
        )
        replayed = self.change(before, again)
        if replayed is None:
            raise StoreContended("Somebody else replays it; look at the list again.")
        return replayed


class DeliveryQueue:
    """Whose messages say which delivery to look at. Messages of a tenant are a group, so that
    those of one with a slow endpoint do not hold up the others' (SQS fair queues)."""

    def __init__(self, client: "Callable[[], SQSClient]", url: str) -> None:
        self._client = client
        self._url = url

    def put(self, delivery: Delivery) -> None:
        """To be looked at when it is due, or in a quarter of an hour, whichever is sooner."""
        wait = (delivery.due_at - clock.now()).total_seconds()
        self._client().send_message(
            QueueUrl=self._url,
            MessageBody=json.dumps({"tenant": delivery.tenant, "message_id": delivery.message_id}),
            DelaySeconds=min(_LONGEST_DELAY, max(0, -int(-wait // 1))),
            MessageGroupId=delivery.tenant,
        )


def _at(tenant: str, place: str) -> Key:
    return endpoints.partition(tenant), place


def _key(tenant: str, message_id: str) -> Key:
    return _at(tenant, f"MESSAGE#{message_id}")


def _failed_key(delivery: Delivery) -> Key:
    return _at(delivery.tenant, f"FAILED#{to_text(delivery.created_at)}#{delivery.message_id}")


def _row(delivery: Delivery) -> Row:
    return key_row(_key(delivery.tenant, delivery.message_id)) | _attributes(delivery)


def _failed_row(delivery: Delivery) -> Row:
    """Its own facts, but what would be sent."""
    return key_row(_failed_key(delivery)) | _attributes(replace(delivery, body=""))


def _attributes(delivery: Delivery) -> Row:
    record = {
        f.name: to_text(value) if isinstance(value, datetime) else value
        for f in fields(delivery)
        if (value := getattr(delivery, f.name)) is not None
    }
    return {
        **record,
        # DynamoDB deletes the row some time after this moment (TimeToLiveSpecification).
        "ttl": int(delivery.expires_at.timestamp()),
    }


def _delivery(row: Row) -> Delivery:
    failed_at, sequence = row.get("failed_at"), row.get("sequence")
    return Delivery(
        tenant=row["tenant"],
        message_id=row["message_id"],
        type=row["type"],
        body=row["body"],
        created_at=datetime.fromisoformat(row["created_at"]),
        due_at=datetime.fromisoformat(row["due_at"]),
        expires_at=datetime.fromisoformat(row["expires_at"]),
        callback_id=row.get("callback_id"),
        sequence=None if sequence is None else int(sequence),
        url=row.get("url"),
        status=DeliveryStatus(row["status"]),
        attempts=int(row["attempts"]),
        reason=row.get("reason"),
        failed_at=datetime.fromisoformat(failed_at) if failed_at else None,
        revision=int(row["revision"]),
    )


def _position(cursor: str | None) -> str | None:
    """A cursor is a place within the caller's own list, so it cannot lead elsewhere."""
    if cursor is None:
        return None
    position = cursors.decode_cursor(cursor)
    if not _POSITION.fullmatch(position):
        raise cursors.invalid_cursor()
    return position
