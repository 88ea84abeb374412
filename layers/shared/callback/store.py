"""DynamoDB: one row per callback, and rows that list it. Only this module knows expressions.

A callback is one item, both legs in it, so that whatever is decided about it is decided by
one conditional write: `change` reads the row, applies a pure function from `transitions`, and
writes it back on condition that nobody else wrote in between.

Listing rows hold no facts but the key: one under the tenant, one under each party's number.
They are written in the same transaction as the callback and never change, so a list costs one
query and a batch of reads, and shows at once what was just accepted.
"""

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from callback.errors import CallbackNotFound, InvalidRequest, StoreContended
from callback.models import Callback, from_record, to_record, to_text

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_CHANGE_ATTEMPTS = 12
_PAGE = 100  # keys per query and per batch of reads: BatchGetItem takes 100
_EXAMINED_AT_MOST = 500  # rows one list request may look at before it answers with a cursor
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


@dataclass(frozen=True)
class Page:
    """`cursor` None: nothing is left. A page may be short and still have a cursor."""

    callbacks: list[Callback]
    cursor: str | None


class CallbackStore:
    def __init__(self, client: "DynamoDBClient", table_name: str) -> None:
        self._client = client
        self._table = table_name

    def add(self, callback: Callback) -> None:
        """Store a new callback with its listing rows, all or nothing."""
        rows = [_row(callback), *_listing_rows(callback)]
        self._client.transact_write_items(
            TransactItems=[
                {
                    "Put": {
                        "TableName": self._table,
                        "Item": row,
                        "ConditionExpression": "attribute_not_exists(pk)",
                    }
                }
                for row in rows
            ]
        )

    def get(self, callback_id: str) -> Callback:
        """Strongly consistent. Raises CallbackNotFound."""
        answer = self._client.get_item(
            TableName=self._table, Key=_key(callback_id), ConsistentRead=True
        )
        if "Item" not in answer:
            raise CallbackNotFound("No callback has this id.")
        return _callback(answer["Item"])

    def change(
        self, callback_id: str, change: Callable[[Callback], Callback | None]
    ) -> tuple[Callback, bool]:
        """Apply a transition atomically: (the callback as it now stands, was it allowed).

        Raises CallbackNotFound, and StoreContended if others kept winning the race.
        """
        for _ in range(_CHANGE_ATTEMPTS):
            before = self.get(callback_id)
            after = change(before)
            if after is None:
                return before, False
            if after == before:  # heard already: durable, nothing to write
                return before, True
            after = replace(after, revision=before.revision + 1)
            if self._replaced(after):
                return after, True
        raise StoreContended("Too many changes at once; nothing was lost, send it again.")

    def _replaced(self, callback: Callback) -> bool:
        try:
            self._client.put_item(
                TableName=self._table,
                Item=_row(callback),
                ConditionExpression="revision = :before",
                ExpressionAttributeValues={":before": {"N": str(callback.revision - 1)}},
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def page(
        self,
        tenant: str,
        *,
        wanted: Callable[[Callback], bool],
        number: str | None,
        after: datetime | None,
        before: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> Page:
        """Newest first. Raises InvalidRequest for a cursor that no page gave."""
        found: list[Callback] = []
        examined = 0
        position = _position(cursor)
        for keys, more in self._listed(_listing(tenant, number), after, before, position):
            callbacks = self._read(keys)
            for place, key in enumerate(keys, 1):
                examined += 1
                position = key
                callback = callbacks.get(_listed_id(key))
                if callback and wanted(callback):
                    found.append(callback)
                full = len(found) == limit or examined == _EXAMINED_AT_MOST
                if full and (more or place < len(keys)):
                    return Page(found, _cursor(position))
                if full:
                    return Page(found, None)
        return Page(found, None)

    def _listed(
        self, listing: str, after: datetime | None, before: datetime | None, position: str | None
    ) -> Iterator[tuple[list[str], bool]]:
        """Pages of sort keys, newest first, and whether more follow."""
        start: Any = {"pk": _serialize(listing), "sk": _serialize(position)} if position else None
        while True:
            resume: Any = {"ExclusiveStartKey": start} if start else {}
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :listing AND sk BETWEEN :after AND :before",
                ExpressionAttributeValues={
                    ":listing": _serialize(listing),
                    ":after": _serialize(to_text(after or _FIRST)),
                    ":before": _serialize(to_text(before or _LAST)),
                },
                ScanIndexForward=False,
                ConsistentRead=True,
                Limit=_PAGE,
                **resume,
            )
            start = answer.get("LastEvaluatedKey")
            yield [_deserialize(item["sk"]) for item in answer["Items"]], start is not None
            if start is None:
                return

    def _read(self, listed: list[str]) -> dict[str, Callback]:
        """The callbacks behind listing keys, by id. A batch may come back in parts."""
        requested: Any = {
            self._table: {
                "Keys": [_key(_listed_id(key)) for key in listed],
                "ConsistentRead": True,
            }
        }
        callbacks = {}
        while listed and requested:
            answer = self._client.batch_get_item(RequestItems=requested)
            for item in answer["Responses"].get(self._table, []):
                callback = _callback(item)
                callbacks[callback.callback_id] = callback
            requested = answer.get("UnprocessedKeys")
        return callbacks


def _key(callback_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"CALLBACK#{callback_id}"}, "sk": {"S": "CALLBACK"}}


def _row(callback: Callback) -> dict[str, Any]:
    return _key(callback.callback_id) | {
        name: _serialize(value) for name, value in to_record(callback).items()
    }


def _listing(tenant: str, number: str | None) -> str:
    return f"TENANT#{tenant}" + (f"#NUMBER#{number}" if number else "")


def _listing_rows(callback: Callback) -> list[dict[str, Any]]:
    position = f"{to_text(callback.created_at)}#{callback.callback_id}"
    return [
        {"pk": _serialize(_listing(callback.tenant, number)), "sk": _serialize(position)}
        for number in (None, callback.leg_a.to, callback.leg_b.to)
    ]


def _listed_id(position: str) -> str:
    return position.rpartition("#")[2]


def _callback(item: dict[str, Any]) -> Callback:
    return from_record({name: _deserialize(value) for name, value in item.items()})


def _cursor(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def _position(cursor: str | None) -> str | None:
    """A cursor is a place within the caller's own listing, so it cannot lead elsewhere."""
    if cursor is None:
        return None
    try:
        position = base64.b64decode(
            cursor + "=" * (-len(cursor) % 4), b"-_", validate=True
        ).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        position = ""
    created_at, _, callback_id = position.partition("#")
    if not (created_at and callback_id):
        raise InvalidRequest(
            "See errors for every field that is wrong.",
            errors=[
                {
                    "field": "cursor",
                    "code": "invalid_cursor",
                    "message": "Use a cursor as the previous page gave it.",
                }
            ],
        )
    return position
