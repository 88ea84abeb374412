"""The one table. Only this module sends requests to DynamoDB.

Stores pass and receive rows: plain values by name, including `pk` and `sk`. DynamoDB's typed
values stay inside this module. All reads but those of the index are strongly consistent.

A failed condition is a return value, not an exception: another write was first.

DynamoDB refuses a write to a row that a transaction is just writing (Developer Guide, "Amazon
DynamoDB Transactions: How it works", "Transaction conflict handling"). The SDK does not repeat such
a write, so this module does. If transactions win every time, or a partition has no capacity left,
the request raises StoreContended: it can be sent again.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from callback import randomness
from callback.errors import StoreContended

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Key = tuple[str, str]  # (pk, sk)
Row = dict[str, Any]
Item = dict[str, Any]  # a row with DynamoDB's typed values
Write = dict[str, dict[str, Any]]  # one of a transaction's writes, without its table

# The reason of a write whose condition did not hold (DynamoDB API reference, TransactWriteItems).
# A write that did not fail has "None".
CONDITION_FAILED = "ConditionalCheckFailed"
# The reason of a write that met another transaction, and the error of one outside a transaction.
_MET_A_TRANSACTION = frozenset({"TransactionConflict", "TransactionConflictException"})
# The errors and reasons of a request for which there is no capacity. The SDK has repeated the
# request twice by then (`aws`).
_NO_CAPACITY = frozenset(
    {
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingError",
        "ThrottlingException",
    }
)

# A transaction takes some 5 to 30 ms. These attempts take 0.15 s on average, and at most 0.31 s.
_ATTEMPTS = 6
# Seconds.
_SHORTEST_WAIT, _LONGEST_WAIT = 0.01, 0.4

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize

# The sparse index of what waits: `due_in` names a group of rows, `due_at` sorts it.
_DUE = "due"

# Most rows of one request (DynamoDB API reference, BatchGetItem and BatchWriteItem).
MOST_READ, _MOST_WRITTEN = 100, 25

# Bytes. DynamoDB rejects a request with a longer key (Developer Guide, "Constraints").
_LONGEST = (2048, 1024)


class Expression(NamedTuple):
    """A condition or an update. `values` are plain, by `:name`. `names` are by `#name`."""

    text: str
    values: Mapping[str, Any] = {}
    names: Mapping[str, str] = {}


ABSENT = Expression("attribute_not_exists(pk)")
PRESENT = Expression("attribute_exists(pk)")


class RowInTransaction(StoreContended):
    """Transactions on the row won every attempt to write it."""

    def __init__(self) -> None:
        super().__init__("Too many concurrent writes. Send the request again.")


class TransactionCanceled(Exception):
    """Nothing of a transaction was written. `reasons` has one entry for each write, in order."""

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
    """A condition of the transaction. It writes nothing."""
    return {"ConditionCheck": {"Key": _key_item(key), **_expressions(None, if_)}}


class Table:
    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        self._client = client
        self._name = name

    # -- reading -----------------------------------------------------------------------------------

    def get(self, key: Key) -> Row | None:
        """None also for a key longer than DynamoDB allows: ids from clients have any length."""
        if any(len(part.encode()) > most for part, most in zip(key, _LONGEST, strict=True)):
            return None
        response = _send(
            self._client.get_item, TableName=self._name, Key=_key_item(key), ConsistentRead=True
        )
        return to_row(response["Item"]) if "Item" in response else None

    def read(self, keys: Collection[Key]) -> dict[Key, Row]:
        """The existing rows of at most 100 keys, usually in one request.

        Keys that DynamoDB leaves unprocessed are requested again after a pause (API reference,
        BatchGetItem: "exponential backoff"). Raises StoreContended if some remain.
        """
        requested: Any = {
            self._name: {
                "Keys": [_key_item(key) for key in dict.fromkeys(keys)],
                "ConsistentRead": True,
            }
        }
        rows: dict[Key, Row] = {}
        if not keys:
            return rows
        for _ in _attempts():
            response = _send(self._client.batch_get_item, RequestItems=requested)
            for item in response["Responses"].get(self._name, []):
                row = to_row(item)
                rows[row["pk"], row["sk"]] = row
            requested = response.get("UnprocessedKeys")
            if not requested:
                return rows
        raise _contended()

    def under(self, pk: str, prefix: str = "") -> Iterator[Row]:
        """The rows of a partition in sort-key order. `prefix` selects sort keys."""
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
        return _rows(iter(pages))

    def last(
        self, condition: Expression, *, limit: int, before: Key | None
    ) -> tuple[list[Row], Key | None]:
        """One page of a query in descending sort-key order, and the `before` of the next page.

        The page has at most `limit` rows that precede the row `before`. There is no next page if
        the returned key is None.
        """
        start: Any = {"ExclusiveStartKey": _key_item(before)} if before else {}
        response = _send(
            self._client.query,
            TableName=self._name,
            KeyConditionExpression=condition.text,
            ExpressionAttributeValues=to_item(condition.values),
            ScanIndexForward=False,
            ConsistentRead=True,
            Limit=limit,
            **start,
        )
        last = response.get("LastEvaluatedKey")
        return [to_row(item) for item in response["Items"]], _key(last) if last else None

    def due(self, condition: Expression, limit: int) -> list[Row]:
        """At most `limit` entries of the index `due`, the earliest first.

        An entry is the row's key, `due_in` and `due_at`. The index is eventually consistent, so an
        entry may be out of date: decide on the row itself.
        """
        response = _send(
            self._client.query,
            TableName=self._name,
            IndexName=_DUE,
            KeyConditionExpression=condition.text,
            ExpressionAttributeValues=to_item(condition.values),
            Limit=limit,
        )
        return [to_row(item) for item in response["Items"]]

    # -- writing -----------------------------------------------------------------------------------

    def put_all(self, rows: Collection[Row]) -> set[Key]:
        """Write the rows, 25 at a time, whatever was there. Returns the keys that were not written:
        DynamoDB had no capacity for them."""
        items = [to_item(row) for row in rows]
        left: set[Key] = set()
        for first in range(0, len(items), _MOST_WRITTEN):
            writes: Any = [
                {"PutRequest": {"Item": item}} for item in items[first : first + _MOST_WRITTEN]
            ]
            response = _send(self._client.batch_write_item, RequestItems={self._name: writes})
            for write in response.get("UnprocessedItems", {}).get(self._name, []):
                left.add(_key(write["PutRequest"]["Item"]))
        return left

    # Each of the next five raises RowInTransaction if transactions on the row win every attempt.

    def put(self, row: Row, if_: Expression | None = None) -> bool:
        """Write the row. False: the condition did not hold."""
        return self._write(self._client.put_item, put_row(row, if_)["Put"]) is None

    def put_or_read(self, row: Row, if_: Expression) -> Row | None:
        """Write the row and return None, or return the row that did not meet the condition.

        That row is empty if it does not exist.
        """
        write = put_row(row, if_)["Put"]
        return self._write(
            self._client.put_item, {**write, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        )

    def update(self, key: Key, change: Expression, if_: Expression | None = None) -> bool:
        """Change the row. False: the condition did not hold."""
        write = update_row(key, change, if_)["Update"]
        return self._write(self._client.update_item, write) is None

    def update_or_read(self, key: Key, change: Expression, if_: Expression) -> tuple[bool, Row]:
        """(True, the row after the change), or (False, the row that did not meet the condition).

        That row is empty if it does not exist.
        """
        write = {
            **update_row(key, change, if_)["Update"],
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        response, refusing = self._send_write(self._client.update_item, write)
        if refusing is not None:
            return False, refusing
        return True, to_row(response["Attributes"])

    def delete(self, key: Key, if_: Expression | None = None) -> bool:
        """Delete the row, if it exists. False: the condition did not hold."""
        return self._write(self._client.delete_item, delete_row(key, if_)["Delete"]) is None

    def transact_once(self, *writes: Write) -> list[str] | None:
        """Like `transact`, for a caller that reads again before each attempt of its own."""
        items: Any = [
            {kind: {"TableName": self._name, **write}}
            for each in writes
            for kind, write in each.items()
        ]
        try:
            _send(self._client.transact_write_items, TransactItems=items)
        except self._client.exceptions.TransactionCanceledException as canceled:
            return [reason.get("Code", "") for reason in canceled.response["CancellationReasons"]]
        return None

    def transact(self, *writes: Write) -> list[str] | None:
        """Do at most 100 writes, all or nothing. None: all are done.

        Otherwise the list has one reason for each write, in order (see CONDITION_FAILED).
        """
        for _ in _attempts():
            reasons = self.transact_once(*writes)
            if reasons is None or CONDITION_FAILED in reasons:
                return reasons
            if not {*reasons} & (_MET_A_TRANSACTION | _NO_CAPACITY):
                return reasons
        raise _contended()

    def transact_or_raise(self, *writes: Write) -> None:
        """Like `transact`, but raises TransactionCanceled."""
        reasons = self.transact(*writes)
        if reasons is not None:
            raise TransactionCanceled(reasons)

    def _write(self, send: Any, write: dict[str, Any]) -> Row | None:
        """Send a write. None: it is done.

        Otherwise the row that did not meet the condition; empty unless the write requests it.
        """
        return self._send_write(send, write)[1]

    def _send_write(self, send: Any, write: dict[str, Any]) -> tuple[Any, Row | None]:
        """The response, and the row that did not meet the condition, if there is one."""
        for _ in _attempts():
            try:
                return _send(send, TableName=self._name, **write), None
            except self._client.exceptions.ConditionalCheckFailedException as refused:
                item: Any = refused.response.get("Item", {})
                return None, to_row(item)
            except ClientError as error:
                if _code(error) not in _MET_A_TRANSACTION:
                    raise
        raise RowInTransaction


def _attempts() -> Iterator[None]:
    """Each attempt but the first comes after a pause."""
    yield
    for attempt in range(_ATTEMPTS - 1):
        wait_a_little(attempt)
        yield


def wait_a_little(attempt: int) -> None:
    """Wait for a random time, longer with each attempt: contending requests spread out."""
    time.sleep(randomness.source.uniform(0, min(_LONGEST_WAIT, _SHORTEST_WAIT * 2**attempt)))


def _send(send: Callable[..., Any], **request: Any) -> Any:
    """Raises StoreContended for a request for which there is no capacity."""
    try:
        return send(**request)
    except ClientError as error:
        if _code(error) in _NO_CAPACITY:
            raise _contended() from error
        raise


def _rows(pages: Iterator[Any]) -> Iterator[Row]:
    while (page := _send(lambda: next(pages, None))) is not None:
        yield from map(to_row, page["Items"])


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _contended() -> StoreContended:
    return StoreContended("Too many concurrent requests. Send the request again.")


def to_row(item: Item) -> Row:
    return {name: _deserialize(value) for name, value in item.items()}


def to_item(row: Mapping[str, Any]) -> Item:
    return {name: _serialize(value) for name, value in row.items()}


def expiry(moment: datetime) -> Row:
    """DynamoDB deletes the row some time after this moment (TimeToLiveSpecification)."""
    return {"ttl": int(moment.timestamp())}


def key_row(key: Key) -> Row:
    """A row with only its key."""
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
