"""One delivery for each event sent to an endpoint: its row, its schedule, its queue.

Rows, all under WEBHOOK#<tenant> in the table of the callbacks:

* MESSAGE#<message id>: the delivery, with the exact bytes that are sent;
* FAILED#<time of the event>#<message id>: a dead letter, until it is replayed.

Every write of a delivery is conditional: no other write may have come between (`revision`). The
first write is not: the stream reports a callback's changes to one publisher at a time.

A message in the queue only names a delivery to check, so a superfluous message does no harm. A
pending delivery is found in one of these ways, and no crash takes it out of all of them:

* a new one by its message. `publish_events` repeats until the message is sent, and the queue
  repeats the message until an attempt has its result. So it pays for no entry in an index;
* any other by the table's index `due`: in a group `DELIVERY#<shard>` from the moment at which
  somebody must look, or in the group `PARKED#…` of an endpoint that is down (`breakers`).
"""

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from callback import clock
from callback.errors import DeliveryNotFound, StoreContended
from callback.lifecycle.events import Event
from callback.lifecycle.models import to_text
from callback.storage import cursors
from callback.storage.table import (
    ABSENT,
    CONDITION_FAILED,
    MOST_READ,
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

# The wait before each attempt (Standard Webhooks 1.0.0, "Retry schedule", plus two more days).
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

# A parked delivery fails at this age: its schedule would be over.
AGE_LIMIT = sum(SCHEDULE, timedelta())

# How long a delivery is kept after its next attempt is due, or after it failed. An endpoint that
# postpones an attempt therefore postpones this end, too.
LIFETIME = timedelta(days=7)

# Longer than `notify_client` may run (template.yaml): a claim this old has no worker any more.
LEASE = timedelta(seconds=60)

LONGEST_DELAY = timedelta(seconds=900)  # SQS, DelaySeconds

# The most messages that follow from each other; the schedule needs two. AWS ends a chain after
# about 16 invocations (Lambda Developer Guide, "Recursive loop detection").
MOST_HOPS = 3

# How long after its message a delivery is looked at again, because the message may be lost.
GRACE = timedelta(minutes=5)

SHARDS = 8
MOST_MESSAGES = 10  # of one request (SQS, SendMessageBatch)
_MESSAGE = "MESSAGE#"
_POSITION = re.compile(r"[0-9TZ:.-]{20,32}#[A-Za-z0-9_-]{1,100}", re.ASCII)


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Target(NamedTuple):
    """Where deliveries go: a tenant's endpoint, or a callback's own URL. `name` is short.

    It is unique within the tenant."""

    tenant: str
    name: str

    @classmethod
    def at(cls, tenant: str, url: str | None) -> "Target":
        """`url` None: the tenant's endpoint, whatever its URL is."""
        name = "ENDPOINT" if url is None else hashlib.sha256(url.encode()).hexdigest()[:32]
        return cls(tenant, name)

    @property
    def parked(self) -> str:
        """The group of the index for the parked deliveries of this target."""
        return f"PARKED#{self.tenant}#{self.name}"


@dataclass(frozen=True)
class Delivery:
    """`url` None: the tenant's endpoint at the time of the attempt. `attempts` counts those with a
    result. `due_at` is when the next one may begin. `reason` is why the last one failed.
    `replayed_at` is when they began anew.

    `due_in` and `look_at` are the entry in the table's index. `due_in` None: it has none."""

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
    replayed_at: datetime | None = None
    due_in: str | None = None
    look_at: datetime | None = None

    @property
    def target(self) -> Target:
        return Target.at(self.tenant, self.url)

    @property
    def since(self) -> datetime:
        """When its attempts began."""
        return self.replayed_at or self.created_at


class Entry(NamedTuple):
    """An entry of the index, perhaps out of date. `sort_key` names a delivery or a breaker."""

    tenant: str
    sort_key: str
    due_at: str

    @property
    def message_id(self) -> str | None:
        """None: the entry is a breaker's."""
        name = self.sort_key.removeprefix(_MESSAGE)
        return None if name == self.sort_key else name


@dataclass(frozen=True)
class Page:
    """`cursor` None: this is the last page."""

    deliveries: list[Delivery]
    cursor: str | None


def new_delivery(tenant: str, event: Event, url: str | None) -> Delivery:
    """Due at once. `url` as in `Delivery`."""
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


def retry_delay(message_id: str, attempt: int) -> timedelta:
    """The wait between an attempt and the one before it. Attempts count from 0.

    The jitter depends on the message, so that messages which failed together are not all retried
    together."""
    spread = zlib.crc32(f"{message_id}:{attempt}".encode()) / 0xFFFFFFFF  # 0 to 1
    return SCHEDULE[attempt] * (1 + _JITTER * (2 * spread - 1))


def shard_of(name: str) -> str:
    """The group of the index for a delivery or a breaker that somebody must look at."""
    return f"DELIVERY#{zlib.crc32(name.encode()) % SHARDS}"


def shards() -> list[str]:
    return [f"DELIVERY#{number}" for number in range(SHARDS)]


def index_from(before: Delivery, look_at: datetime) -> Delivery:
    """In the index from this moment on: `resume_deliveries` looks at it then."""
    return replace(before, due_in=shard_of(before.message_id), look_at=look_at)


def park(before: Delivery) -> Delivery:
    """Not looked at. It waits for its target, in the order of time."""
    return replace(before, due_in=before.target.parked, look_at=before.since)


def count_attempt(before: Delivery) -> Delivery:
    return replace(before, attempts=before.attempts + 1)


def mark_delivered(before: Delivery) -> Delivery:
    """After a successful attempt."""
    return replace(
        count_attempt(before),
        status=DeliveryStatus.DELIVERED,
        reason=None,
        due_in=None,
        look_at=None,
    )


def retry_or_fail(before: Delivery, reason: str, now: datetime, wait: timedelta) -> Delivery:
    """After a failed attempt: due again as scheduled, but `wait` from now at the earliest. Failed
    if that was the last attempt."""
    attempted = count_attempt(before)
    if attempted.attempts == len(SCHEDULE):
        return mark_failed(attempted, reason, now)
    due_at = now + max(wait, retry_delay(before.message_id, attempted.attempts))
    return replace(attempted, reason=reason, due_at=due_at, expires_at=due_at + LIFETIME)


def postpone(before: Delivery, until: datetime) -> Delivery:
    """Not attempted before this moment."""
    due_at = max(before.due_at, until)
    return replace(before, due_at=due_at, expires_at=due_at + LIFETIME)


def mark_failed(before: Delivery, reason: str, now: datetime) -> Delivery:
    """A dead letter: there is no further attempt unless the client replays it."""
    return replace(
        before,
        status=DeliveryStatus.FAILED,
        reason=reason,
        failed_at=now,
        expires_at=now + LIFETIME,
        due_in=None,
        look_at=None,
    )


class DeliveryStore:
    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, delivery: Delivery) -> None:
        """A repetition changes nothing."""
        self._table.put(_row(delivery), ABSENT)

    def add_all(self, new: Sequence[Delivery]) -> tuple[list[Delivery], set[str]]:
        """Store those that do not exist. A repetition changes nothing.

        Returns the deliveries as they are stored, in order, and the message ids of those that are
        not: DynamoDB had no capacity for them. Two concurrent callers may both store the same
        delivery. It is then sent again under the same id."""
        stored = self.read([(each.tenant, each.message_id) for each in new])
        missing = [each for each in new if each.message_id not in stored]
        left = {key[1] for key in self._table.put_all([_row(each) for each in missing])}
        refused = {each.message_id for each in missing if _key("", each.message_id)[1] in left}
        return [
            stored.get(each.message_id, each) for each in new if each.message_id not in refused
        ], refused

    def read(self, names: Sequence[tuple[str, str]]) -> dict[str, Delivery]:
        """The existing deliveries, by message id, of (tenant, message id). Expired ones too."""
        keys = [_key(tenant, message_id) for tenant, message_id in names]
        found: dict[str, Delivery] = {}
        for first in range(0, len(keys), MOST_READ):
            for row in self._table.read(keys[first : first + MOST_READ]).values():
                found[row["message_id"]] = _delivery(row)
        return found

    def due(self, group: str, until: datetime, limit: int) -> list[Entry]:
        """The entries of a group of the index up to this moment, the earliest first."""
        values = {":group": group, ":until": to_text(until)}
        rows = self._table.due(Expression("due_in = :group AND due_at <= :until", values), limit)
        return [Entry(endpoints.tenant_of(row["pk"]), row["sk"], row["due_at"]) for row in rows]

    def find(self, tenant: str, message_id: str) -> Delivery | None:
        """Strongly consistent. None for an expired delivery, too."""
        row = self._table.get(_key(tenant, message_id))
        delivery = _delivery(row) if row else None
        return delivery if delivery and delivery.expires_at > clock.now() else None

    def change(self, before: Delivery, after: Delivery) -> Delivery | None:
        """The delivery as stored. None: another write came first, and nothing is written.

        Raises StoreContended if the write fails for any other reason."""
        after = replace(after, revision=before.revision + 1)
        unchanged = Expression("revision = :before", {":before": before.revision})
        was_failed, is_failed = (d.status is DeliveryStatus.FAILED for d in (before, after))
        if was_failed == is_failed:
            return after if self._table.put(_row(after), unchanged) else None
        listing = put_row(_failed_row(after)) if is_failed else delete_row(_failed_key(before))
        reasons = self._table.transact(put_row(_row(after), unchanged), listing)
        if reasons is None:
            return after
        if reasons[0] == CONDITION_FAILED:
            return None
        raise StoreContended("Nothing was changed. Try again.")

    def fail_all(self, changes: Sequence[tuple[Delivery, Delivery]]) -> int:
        """Make pending deliveries dead letters, of (before, after). Returns how many were changed.

        Not in transactions, which cost twice as much: each is listed first, and removed from the
        list if another write came first. After a crash in between it is still pending, and the
        caller finds it again."""
        left = self._table.put_all([_failed_row(after) for _, after in changes])
        failed = 0
        for before, after in changes:
            if _failed_key(after) in left:
                continue
            unchanged = Expression("revision = :before", {":before": before.revision})
            if self._table.put(_row(replace(after, revision=before.revision + 1)), unchanged):
                failed += 1
            else:
                self._table.delete(_failed_key(after))
        return failed

    def list_failed(self, tenant: str, limit: int, cursor: str | None) -> Page:
        """Dead letters, the newest events first. Raises InvalidRequest for a cursor that no page
        contained."""
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
        """Make a dead letter due at once, with a full set of attempts. If its message is not sent,
        it is found by the index. Raises DeliveryNotFound for any other delivery, and
        StoreContended."""
        before = self.find(tenant, message_id)
        if before is None or before.status is not DeliveryStatus.FAILED:
            raise DeliveryNotFound("No failed delivery has this id.")
        now = clock.now()
        pending = replace(
            before,
            status=DeliveryStatus.PENDING,
            attempts=0,
            reason=None,
            failed_at=None,
            replayed_at=now,
            due_at=now,
            expires_at=now + LIFETIME,
        )
        replayed = self.change(before, index_from(pending, now + GRACE))
        if replayed is None:
            raise StoreContended(
                "Another request is replaying it. List the failed deliveries again."
            )
        return replayed


class DeliveryQueue:
    """SQS, with messages that name a delivery to check. Each tenant is a message group, so a slow
    endpoint of one tenant does not delay the deliveries of others (SQS fair queues)."""

    def __init__(self, client: "Callable[[], SQSClient]", url: str) -> None:
        self._client = client
        self._url = url

    def put(self, delivery: Delivery, hops: int = 0) -> None:
        """Check the delivery when it is due, but in 15 minutes at the latest (SQS's limit). `hops`
        counts the messages of a chain: 0 for the first."""
        self._client().send_message(
            QueueUrl=self._url,
            MessageBody=_message(delivery, hops),
            DelaySeconds=_delay(delivery),
            MessageGroupId=delivery.tenant,
        )

    def put_all(self, due: Sequence[Delivery]) -> set[str]:
        """As `put`, ten at a time and in order. Returns the message ids of those that SQS did not
        take."""
        refused: set[str] = set()
        for first in range(0, len(due), MOST_MESSAGES):
            part = due[first : first + MOST_MESSAGES]
            response = self._client().send_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {
                        "Id": str(number),
                        "MessageBody": _message(each, 0),
                        "DelaySeconds": _delay(each),
                        "MessageGroupId": each.tenant,
                    }
                    for number, each in enumerate(part)
                ],
            )
            failed = response.get("Failed", [])
            refused |= {part[int(entry["Id"])].message_id for entry in failed}
        return refused


def _message(delivery: Delivery, hops: int) -> str:
    named = {"tenant": delivery.tenant, "message_id": delivery.message_id}
    return json.dumps({**named, "hops": hops} if hops else named)


def _delay(delivery: Delivery) -> int:
    wait = (delivery.due_at - clock.now()).total_seconds()
    return min(int(LONGEST_DELAY.total_seconds()), max(0, -int(-wait // 1)))


def _at(tenant: str, sort_key: str) -> Key:
    return endpoints.partition(tenant), sort_key


def _key(tenant: str, message_id: str) -> Key:
    return _at(tenant, f"{_MESSAGE}{message_id}")


def _failed_key(delivery: Delivery) -> Key:
    return _at(delivery.tenant, f"FAILED#{to_text(delivery.created_at)}#{delivery.message_id}")


def _row(delivery: Delivery) -> Row:
    return key_row(_key(delivery.tenant, delivery.message_id)) | _attributes(delivery)


def _failed_row(delivery: Delivery) -> Row:
    """All attributes but the body. A dead letter is in no index."""
    return key_row(_failed_key(delivery)) | _attributes(replace(delivery, body=""))


def _attributes(delivery: Delivery) -> Row:
    record = {
        f.name: to_text(value) if isinstance(value, datetime) else value
        for f in fields(delivery)
        if (value := getattr(delivery, f.name)) is not None
    }
    due_at = record.pop("due_at")
    return {
        **record,
        "attempt_at": due_at,
        # The index sorts by it. A row without `due_in` is not in the index.
        "due_at": record.pop("look_at", due_at),
        # DynamoDB deletes the row some time after this moment (TimeToLiveSpecification).
        "ttl": int(delivery.expires_at.timestamp()),
    }


def _delivery(row: Row) -> Delivery:
    failed_at, replayed_at = row.get("failed_at"), row.get("replayed_at")
    sequence, due_in = row.get("sequence"), row.get("due_in")
    return Delivery(
        tenant=row["tenant"],
        message_id=row["message_id"],
        type=row["type"],
        body=row["body"],
        created_at=datetime.fromisoformat(row["created_at"]),
        # Rows of the version before have only `due_at`, for the next attempt.
        due_at=datetime.fromisoformat(row.get("attempt_at") or row["due_at"]),
        expires_at=datetime.fromisoformat(row["expires_at"]),
        callback_id=row.get("callback_id"),
        sequence=None if sequence is None else int(sequence),
        url=row.get("url"),
        status=DeliveryStatus(row["status"]),
        attempts=int(row["attempts"]),
        reason=row.get("reason"),
        failed_at=datetime.fromisoformat(failed_at) if failed_at else None,
        revision=int(row["revision"]),
        replayed_at=datetime.fromisoformat(replayed_at) if replayed_at else None,
        due_in=due_in,
        look_at=datetime.fromisoformat(row["due_at"]) if due_in else None,
    )


def _position(cursor: str | None) -> str | None:
    """A cursor is a position in the caller's own list, so it cannot lead to another tenant's."""
    if cursor is None:
        return None
    position = cursors.decode_cursor(cursor)
    if not _POSITION.fullmatch(position):
        raise cursors.invalid_cursor()
    return position
