"""Triggers that are accepted after their sender has its response: one row each, its id in a queue.

The row, `TRIGGER#<id>`, holds the telephone numbers. The queue and its dead letters hold only the
id. The row is written before the message, so a trigger whose sender has a response is never lost.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from callback import clock
from callback.lifecycle.models import Source
from callback.storage.table import Key, Table, key_row

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# As long as the queue keeps a dead letter.
_LIFETIME = timedelta(days=14)


@dataclass(frozen=True)
class Trigger:
    """`body` is the JSON of a `schema.TriggerRequest`, not validated yet."""

    trigger_id: str
    source: Source
    body: bytes


class TriggerStore:
    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, trigger: Trigger) -> None:
        """A repetition changes nothing."""
        self._table.put(
            {
                **key_row(_key(trigger.trigger_id)),
                "source": trigger.source,
                "body": trigger.body.decode(),
                "ttl": int((clock.now() + _LIFETIME).timestamp()),
            }
        )

    def get(self, trigger_id: str) -> Trigger | None:
        """None for a trigger that was accepted already."""
        row = self._table.get(_key(trigger_id))
        return Trigger(trigger_id, Source(row["source"]), row["body"].encode()) if row else None

    def delete(self, trigger_id: str) -> None:
        self._table.delete(_key(trigger_id))


class TriggerQueue:
    """The SQS client is made at its first use: most cold starts never need it."""

    def __init__(self, store: TriggerStore, client: "Callable[[], SQSClient]", url: str) -> None:
        self._store = store
        self._client = client
        self._url = url

    def put(
        self, trigger_id: str, source: Source, body: Mapping[str, Any], *, after_seconds: int = 0
    ) -> None:
        """Store the trigger and queue its id. It is accepted after `after_seconds` at the earliest.

        Durable once this returns. `trigger_id` is the idempotency key: 16 to 255 letters, digits,
        - and _.
        """
        self._store.put(Trigger(trigger_id, source, json.dumps(body).encode()))
        self._client().send_message(
            QueueUrl=self._url, MessageBody=trigger_id, DelaySeconds=after_seconds
        )


def _key(trigger_id: str) -> Key:
    return f"TRIGGER#{trigger_id}", "TRIGGER"
