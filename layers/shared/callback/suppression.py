"""Whom a tenant may not call, because they said so.

One row each, `SUPPRESSED#<tenant>#<hash>`, kept until they say otherwise. The hash is
HMAC-SHA256 of the address under the pepper: the row tells whether somebody whose number you have
is on the list, and nobody's number. (A plain hash would: there are few enough numbers to try.)
"""

import hmac
from typing import TYPE_CHECKING, Any

from callback import clock, rows
from callback.models import to_text
from callback.tenants import Pepper

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def hashed(pepper: Pepper, address: str) -> str:
    """What stands for an address where its number must not. Raises what `Pepper.get` does."""
    return hmac.digest(pepper.get().encode(), address.encode(), "sha256").hex()


class SuppressionList:
    """Every method raises what `Pepper.get` does."""

    def __init__(self, client: "DynamoDBClient", table_name: str, pepper: Pepper) -> None:
        self._client = client
        self._table = table_name
        self._pepper = pepper

    def add(self, tenant: str, address: str) -> None:
        """`address` as `addresses.parse` writes it. Once more changes nothing."""
        self._client.update_item(
            TableName=self._table,
            Key=self._key(tenant, address),
            UpdateExpression="SET suppressed_at = if_not_exists(suppressed_at, :now)",
            ExpressionAttributeValues={":now": {"S": to_text(clock.now())}},
        )

    def remove(self, tenant: str, address: str) -> None:
        self._client.delete_item(TableName=self._table, Key=self._key(tenant, address))

    def contains(self, tenant: str, address: str) -> bool:
        """Strongly consistent: who was just added is on it."""
        return rows.get(self._client, self._table, self._key(tenant, address)) is not None

    def hashed(self, address: str) -> str:
        """What stands for an address in rows that must not name it."""
        return hashed(self._pepper, address)

    def key(self, tenant: str, address: str) -> rows.Key:
        """The row that is there if the address is on the list."""
        return f"SUPPRESSED#{tenant}#{self.hashed(address)}", "SUPPRESSED"

    def _key(self, tenant: str, address: str) -> dict[str, Any]:
        return rows.as_item(self.key(tenant, address))
