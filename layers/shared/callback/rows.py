"""Read many rows of the table at once, whatever they are."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_deserialize = TypeDeserializer().deserialize

Key = tuple[str, str]  # (pk, sk)
Row = dict[str, Any]


def read(client: "DynamoDBClient", table: str, keys: Collection[Key]) -> dict[Key, Row]:
    """The rows that exist of at most 100 keys, strongly consistent. One request, as a rule: what
    DynamoDB leaves unprocessed is asked for again."""
    requested: Any = {
        table: {"Keys": [as_item(key) for key in sorted(set(keys))], "ConsistentRead": True}
    }
    found: dict[Key, Row] = {}
    while requested:
        answer = client.batch_get_item(RequestItems=requested)
        for item in answer["Responses"].get(table, []):
            row = {name: _deserialize(value) for name, value in item.items()}
            found[row["pk"], row["sk"]] = row
        requested = answer.get("UnprocessedKeys")
    return found


def as_item(key: Key) -> dict[str, Any]:
    pk, sk = key
    return {"pk": {"S": pk}, "sk": {"S": sk}}
