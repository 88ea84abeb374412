"""Rows of the table, whatever they are: their two forms, and how to read them.

All reads are strongly consistent.
"""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize

Key = tuple[str, str]  # (pk, sk)
Row = dict[str, Any]
Item = dict[str, Any]  # a row, or its key, as DynamoDB has it

# Bytes; DynamoDB refuses to look for a longer one (Developer Guide, "Constraints").
_LONGEST = {"pk": 2048, "sk": 1024}


def read(client: "DynamoDBClient", table: str, keys: Collection[Key]) -> dict[Key, Row]:
    """The rows that exist of at most 100 keys. One request, as a rule: what DynamoDB leaves
    unprocessed is asked for again."""
    requested: Any = {
        table: {"Keys": [as_item(key) for key in sorted(set(keys))], "ConsistentRead": True}
    }
    found: dict[Key, Row] = {}
    while requested:
        answer = client.batch_get_item(RequestItems=requested)
        for item in answer["Responses"].get(table, []):
            row = plain(item)
            found[row["pk"], row["sk"]] = row
        requested = answer.get("UnprocessedKeys")
    return found


def get(client: "DynamoDBClient", table: str, key: Item) -> Row | None:
    """None also for what is too long to be a key: clients name things by ids of any length."""
    if any(len(key[name]["S"].encode()) > longest for name, longest in _LONGEST.items()):
        return None
    answer = client.get_item(TableName=table, Key=key, ConsistentRead=True)
    return plain(answer["Item"]) if "Item" in answer else None


def under(client: "DynamoDBClient", table: str, pk: str, prefix: str = "") -> Iterator[Row]:
    """The rows of a partition, in the order of their sort keys; `prefix` is of those."""
    condition, values = "pk = :pk", {":pk": serialize(pk)}
    if prefix:
        condition += " AND begins_with(sk, :prefix)"
        values[":prefix"] = serialize(prefix)
    pages = client.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression=condition,
        ExpressionAttributeValues=values,
        ConsistentRead=True,
    )
    return (plain(item) for page in pages for item in page["Items"])


def plain(item: Item) -> Row:
    return {name: _deserialize(value) for name, value in item.items()}


def as_item(key: Key) -> Item:
    pk, sk = key
    return {"pk": {"S": pk}, "sk": {"S": sk}}
