"""The one table: every request to DynamoDB is made here, and nowhere else.

Stores give and get rows: plain values by name, `pk` and `sk` among them. How DynamoDB spells them
does not leave this module. All reads are strongly consistent.

A condition that does not hold is an answer, not an exception: somebody else was first.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Key = tuple[str, str]  # (pk, sk)
Row = dict[str, Any]
Item = dict[str, Any]  # a row as DynamoDB has it
Write = dict[str, dict[str, Any]]  # one of a transaction's writes, without its table

# The reason of a write whose condition did not hold (DynamoDB API reference, TransactWriteItems).
# A write that would have been possible has "None", one that met another transaction
# "TransactionConflict".
CONDITION_FAILED = "ConditionalCheckFailed"

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize

# Bytes; DynamoDB refuses to look for a longer one (Developer Guide, "Constraints").
_LONGEST = (2048, 1024)


class Expression(NamedTuple):
    """A condition or an update. `values` are plain, by `:name`; `names` are by `#name`."""

    text: str
    values: Mapping[str, Any] = {}
    names: Mapping[str, str] = {}


ABSENT = Expression("attribute_not_exists(pk)")
PRESENT = Expression("attribute_exists(pk)")


class TransactionCanceled(Exception):
    """Nothing of a transaction was written. `reasons`: why, by each write's place."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(f"The transaction was canceled: {', '.join(reasons)}.")
        self.reasons = reasons


def put_row(row: Row, if_: Expression | None = None) -> Write:
    return {"Put": {"Item": to_item(row), **_expressions(None, if_)}}


def update_row(key: Key, change: Expression, if_: Expression | None = None) -> Write:
    return {"Update": {"Key": _key_item(key), **_expressions(change, if_)}}


def delete_row(key: Key, if_: Expression | None = None) -> Write:
    return {"Delete": {"Key": _key_item(key), **_expressions(None, if_)}}


def check_row(key: Key, if_: Expression) -> Write:
    """Writes nothing: a condition of the transaction."""
    return {"ConditionCheck": {"Key": _key_item(key), **_expressions(None, if_)}}


class Table:
    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        self._client = client
        self._name = name

    # -- reading -----------------------------------------------------------------------------------

    def get(self, key: Key) -> Row | None:
        """None also for what is too long to be a key: clients name things by ids of any length."""
        if any(len(part.encode()) > most for part, most in zip(key, _LONGEST, strict=True)):
            return None
        answer = self._client.get_item(
            TableName=self._name, Key=_key_item(key), ConsistentRead=True
        )
        return to_row(answer["Item"]) if "Item" in answer else None

    def read(self, keys: Collection[Key]) -> dict[Key, Row]:
        """The rows that exist of at most 100 keys. One request, as a rule: what DynamoDB leaves
        unprocessed is requested again."""
        requested: Any = {
            self._name: {
                "Keys": [_key_item(key) for key in dict.fromkeys(keys)],
                "ConsistentRead": True,
            }
        }
        found: dict[Key, Row] = {}
        while keys and requested:
            answer = self._client.batch_get_item(RequestItems=requested)
            for item in answer["Responses"].get(self._name, []):
                row = to_row(item)
                found[row["pk"], row["sk"]] = row
            requested = answer.get("UnprocessedKeys")
        return found

    def under(self, pk: str, prefix: str = "") -> Iterator[Row]:
        """The rows of a partition, in the order of their sort keys; `prefix` is of those."""
        condition, values = "pk = :pk", {":pk": pk}
        if prefix:
            condition += " AND begins_with(sk, :prefix)"
            values[":prefix"] = prefix
        pages = self._client.get_paginator("query").paginate(
            TableName=self._name,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=to_item(values),
            ConsistentRead=True,
        )
        return (to_row(item) for page in pages for item in page["Items"])

    def last(
        self, condition: Expression, *, limit: int, before: Key | None
    ) -> tuple[list[Row], Key | None]:
        """One page of a query, the last sort keys first: at most `limit` rows that come before
        the row `before`, and the `before` of the next page. None: there is no next page."""
        start: Any = {"ExclusiveStartKey": _key_item(before)} if before else {}
        answer = self._client.query(
            TableName=self._name,
            KeyConditionExpression=condition.text,
            ExpressionAttributeValues=to_item(condition.values),
            ScanIndexForward=False,
            ConsistentRead=True,
            Limit=limit,
            **start,
        )
        last = answer.get("LastEvaluatedKey")
        return [to_row(item) for item in answer["Items"]], _key(last) if last else None

    # -- writing -----------------------------------------------------------------------------------

    def put(self, row: Row, if_: Expression | None = None) -> bool:
        """Whether the condition held, and the row is written."""
        return self._write(self._client.put_item, put_row(row, if_)["Put"]) is None

    def put_or_read(self, row: Row, if_: Expression) -> Row | None:
        """None: the row is written. Else the row that did not meet the condition; empty where
        there is none."""
        write = put_row(row, if_)["Put"]
        return self._write(
            self._client.put_item, {**write, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        )

    def update(self, key: Key, change: Expression, if_: Expression | None = None) -> bool:
        """Whether the condition held, and the row is changed."""
        write = update_row(key, change, if_)["Update"]
        return self._write(self._client.update_item, write) is None

    def delete(self, key: Key, if_: Expression | None = None) -> bool:
        """Whether the condition held, and there is no such row now."""
        return self._write(self._client.delete_item, delete_row(key, if_)["Delete"]) is None

    def transact(self, *writes: Write) -> list[str] | None:
        """All or nothing; at most 100. None: all is written. Else nothing is, and the list says
        why, by each write's place (see CONDITION_FAILED)."""
        items: Any = [
            {kind: {"TableName": self._name, **write}}
            for each in writes
            for kind, write in each.items()
        ]
        try:
            self._client.transact_write_items(TransactItems=items)
        except self._client.exceptions.TransactionCanceledException as canceled:
            return [reason.get("Code", "") for reason in canceled.response["CancellationReasons"]]
        return None

    def transact_or_raise(self, *writes: Write) -> None:
        """As `transact`. Raises TransactionCanceled."""
        reasons = self.transact(*writes)
        if reasons is not None:
            raise TransactionCanceled(reasons)

    def _write(self, send: Any, write: dict[str, Any]) -> Row | None:
        """None: it is done. Else the row that did not meet the condition, if it was asked for."""
        try:
            send(TableName=self._name, **write)
        except self._client.exceptions.ConditionalCheckFailedException as refused:
            stands: Any = refused.response.get("Item", {})
            return to_row(stands)
        return None


def to_row(item: Item) -> Row:
    return {name: _deserialize(value) for name, value in item.items()}


def to_item(row: Mapping[str, Any]) -> Item:
    return {name: _serialize(value) for name, value in row.items()}


def expiry(moment: datetime) -> Row:
    """DynamoDB deletes the row some time after this moment (TimeToLiveSpecification)."""
    return {"ttl": int(moment.timestamp())}


def key_row(key: Key) -> Row:
    """A row that holds nothing but its key."""
    return dict(zip(("pk", "sk"), key, strict=True))


def _key_item(key: Key) -> Item:
    return to_item(key_row(key))


def _key(item: Item) -> Key:
    row = to_row(item)
    return row["pk"], row["sk"]


def _expressions(change: Expression | None, if_: Expression | None) -> dict[str, Any]:
    parts = [each for each in (change, if_) if each]
    arguments: dict[str, Any] = {}
    if change:
        arguments["UpdateExpression"] = change.text
    if if_:
        arguments["ConditionExpression"] = if_.text
    if values := {name: value for each in parts for name, value in each.values.items()}:
        arguments["ExpressionAttributeValues"] = to_item(values)
    if names := {name: to for each in parts for name, to in each.names.items()}:
        arguments["ExpressionAttributeNames"] = names
    return arguments
