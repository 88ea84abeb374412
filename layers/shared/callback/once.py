"""Once in a while, or a few times, and no more often: what strangers set off for nothing.

One row each, `ONCE#<tenant>#<what>#<hash>`; the hash is that of the suppression list, so the row
names nobody either.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

from callback import clock, counters, rows
from callback.amounts import Rate
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
        try:
            self._client.put_item(
                TableName=self._table,
                Item={
                    **rows.as_item((self._row(tenant, what, address), "ONCE")),
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

    def may_so_often(self, tenant: str, what: str, address: str, rate: Rate, *, by: str) -> bool:
        """As `may`, as often as the rate says."""
        began, until = counters.window(rate, clock.now())
        try:
            self._client.update_item(
                TableName=self._table,
                Key=rows.as_item((self._row(tenant, what, address), str(began))),
                UpdateExpression="ADD #by :by SET #ttl = :ttl",
                ConditionExpression="attribute_not_exists(pk) OR size(#by) < :count"
                " OR contains(#by, :one)",
                ExpressionAttributeNames={"#by": "by", "#ttl": "ttl"},
                ExpressionAttributeValues={
                    ":by": {"SS": [by]},
                    ":one": {"S": by},
                    ":count": {"N": str(rate.count)},
                    ":ttl": {"N": str(int(until.timestamp()))},
                },
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _row(self, tenant: str, what: str, address: str) -> str:
        return f"ONCE#{tenant}#{what}#{hashed(self._pepper, address)}"
