"""Once in a while, and no more often: what strangers set off for nothing.

One row each, `ONCE#<tenant>#<what>#<hash>`; the hash is that of the suppression list, so the row
names nobody either.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

from callback import clock
from callback.models import to_text
from callback.suppression import hashed
from callback.tenants import Pepper

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Once:
    def __init__(self, client: "DynamoDBClient", table_name: str, pepper: Pepper) -> None:
        self._client = client
        self._table = table_name
        self._pepper = pepper

    def may(self, tenant: str, what: str, address: str, every: timedelta, *, by: str) -> bool:
        """Whether nobody has for this address within `every`; it counts as done from here on.

        `by` is the id of the request, so that the same one asked again gets the same answer.
        Raises what `Pepper.get` does.
        """
        now = clock.now()
        row = f"ONCE#{tenant}#{what}#{hashed(self._pepper, address)}"
        try:
            self._client.put_item(
                TableName=self._table,
                Item={
                    "pk": {"S": row},
                    "sk": {"S": "ONCE"},
                    "by": {"S": by},
                    "done_at": {"S": to_text(now)},
                    "ttl": {"N": str(int((now + every).timestamp()))},
                },
                ConditionExpression="attribute_not_exists(pk) OR done_at <= :then OR #by = :by",
                ExpressionAttributeNames={"#by": "by"},
                ExpressionAttributeValues={":then": {"S": to_text(now - every)}, ":by": {"S": by}},
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True
