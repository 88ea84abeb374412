"""Triggers that are answered first and accepted after: a row each, and its id in a queue.

Numbers stand in the row, `TRIGGER#<id>`; the queue, and the dead letters behind it, hold the id and
nothing else. The row is written before the message, so that what was answered is never lost.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from callback import clock, rows
from callback.models import Source

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

# As long as a dead letter is kept.
_KEPT = timedelta(days=14)


@dataclass(frozen=True)
class Trigger:
    """`body` is the JSON of a `schema.TriggerRequest`, not looked at yet."""

    trigger_id: str
    source: Source
    body: bytes


class TriggerStore:
    def __init__(self, client: "DynamoDBClient", table_name: str) -> None:
        self._client = client
        self._table = table_name

    def put(self, trigger: Trigger) -> None:
        """Once more changes nothing."""
        until = int((clock.now() + _KEPT).timestamp())
        self._client.put_item(
            TableName=self._table,
            Item={
                **_key(trigger.trigger_id),
                "source": {"S": trigger.source},
                "body": {"S": trigger.body.decode()},
                "ttl": {"N": str(until)},
            },
        )

    def get(self, trigger_id: str) -> Trigger | None:
        """None: it was accepted already."""
        row = rows.get(self._client, self._table, _key(trigger_id))
        return Trigger(trigger_id, Source(row["source"]), row["body"].encode()) if row else None

    def forget(self, trigger_id: str) -> None:
        self._client.delete_item(TableName=self._table, Key=_key(trigger_id))


class TriggerQueue:
    """Its client is made at the first use: most cold starts never need it."""

    def __init__(self, store: TriggerStore, client: "Callable[[], SQSClient]", url: str) -> None:
        self._store = store
        self._client = client
        self._url = url

    def put(
        self, trigger_id: str, source: Source, body: Mapping[str, Any], *, after_seconds: int = 0
    ) -> None:
        """To be accepted soon, not before `after_seconds`; durable once this returns.

        `trigger_id` is the idempotency key: 16 to 255 letters, digits, - and _.
        """
        self._store.put(Trigger(trigger_id, source, json.dumps(body).encode()))
        self._client().send_message(
            QueueUrl=self._url, MessageBody=trigger_id, DelaySeconds=after_seconds
        )


def _key(trigger_id: str) -> dict[str, Any]:
    return rows.as_item((f"TRIGGER#{trigger_id}", "TRIGGER"))
