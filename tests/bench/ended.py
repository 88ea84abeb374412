"""Reads a callback's row. A request of the API would be counted as the service's work."""

from typing import Any

from tests.local.stack import LocalStack


def row_when_ended(stack: LocalStack, callback_id: str) -> dict[str, Any] | None:
    """The row with DynamoDB's typed values. None until the callback has ended."""
    key = {"pk": {"S": f"CALLBACK#{callback_id}"}, "sk": {"S": "CALLBACK"}}
    row = stack.aws.dynamodb.get_item(TableName=stack.table_name, Key=key)["Item"]
    return dict(row) if row["status"] == {"S": "ended"} else None
