"""Where a tenant is told what happens, and the secrets that sign it.

One row for each tenant, WEBHOOK#<tenant> / ENDPOINT in the table of the callbacks. The secret has
to be had again to sign, so it cannot be hashed as an API key's is: it lies in the table, which is
encrypted with a KMS key.
"""

import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from callback import clock, rows, webhook_signature
from callback.errors import StoreContended, WebhookEndpointNotFound
from callback.models import to_text
from callback.rows import serialize

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# How long the secret before the last rotation goes on signing.
OVERLAP = timedelta(hours=24)

_ATTEMPTS = 3


@dataclass(frozen=True)
class Endpoint:
    """`events` are types of events, or `leg.*`. One with `disabled_at` is told nothing."""

    tenant: str
    url: str
    events: tuple[str, ...]
    secret: str = field(repr=False)
    created_at: datetime
    previous_secret: str | None = field(default=None, repr=False)
    previous_secret_until: datetime | None = None
    disabled_at: datetime | None = None

    def secrets(self, now: datetime) -> list[str]:
        """Those that sign at this moment, the newest first."""
        if self.previous_secret and self.previous_secret_until and now < self.previous_secret_until:
            return [self.secret, self.previous_secret]
        return [self.secret]


class EndpointStore:
    def __init__(self, client: "DynamoDBClient", table_name: str) -> None:
        self._client = client
        self._table = table_name

    def find(self, tenant: str) -> Endpoint | None:
        """Strongly consistent."""
        row = rows.get(self._client, self._table, _key(tenant))
        return _endpoint(tenant, row) if row else None

    def get(self, tenant: str) -> Endpoint:
        """Strongly consistent. Raises WebhookEndpointNotFound."""
        endpoint = self.find(tenant)
        if endpoint is None:
            raise _not_found()
        return endpoint

    def put(self, tenant: str, url: str, events: Collection[str]) -> tuple[Endpoint, bool]:
        """(the endpoint, whether it is new). One that was disabled is told again; the secret of
        one that was there stays. Raises StoreContended."""
        for _ in range(_ATTEMPTS):
            if self._changed(tenant, url, events):
                return self.get(tenant), False
            if self._added(tenant, url, events):
                return self.get(tenant), True
        raise StoreContended("Somebody else changes the endpoint; try again.")

    def _changed(self, tenant: str, url: str, events: Collection[str]) -> bool:
        return self._update(
            tenant,
            "SET #url = :url, #events = :events REMOVE disabled_at",
            {":url": url, ":events": list(events)},
            {"#url": "url", "#events": "events"},
        )

    def _added(self, tenant: str, url: str, events: Collection[str]) -> bool:
        row = {
            **_key(tenant),
            "url": serialize(url),
            "events": serialize(list(events)),
            "secret": serialize(webhook_signature.new_secret()),
            "created_at": serialize(to_text(clock.now())),
        }
        try:
            self._client.put_item(
                TableName=self._table, Item=row, ConditionExpression="attribute_not_exists(pk)"
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def rotate(self, tenant: str) -> Endpoint:
        """With a new secret; the one before it signs as well for a day. Raises
        WebhookEndpointNotFound, and StoreContended where somebody else rotates at once."""
        before = self.get(tenant)
        rotated = self._update(
            tenant,
            "SET secret = :new, previous_secret = :old, previous_secret_until = :until",
            {
                ":new": webhook_signature.new_secret(),
                ":old": before.secret,
                ":until": to_text(clock.now() + OVERLAP),
            },
            condition="secret = :old",
        )
        if not rotated:
            raise StoreContended("Somebody else rotates the secret; try again.")
        return self.get(tenant)

    def disable(self, tenant: str, url: str) -> None:
        """The URL told us that it is gone (410). Nothing happens if the endpoint is another."""
        self._update(
            tenant,
            "SET disabled_at = if_not_exists(disabled_at, :now)",
            {":now": to_text(clock.now()), ":url": url},
            {"#url": "url"},
            condition="#url = :url",
        )

    def remove(self, tenant: str) -> None:
        """Raises WebhookEndpointNotFound."""
        try:
            self._client.delete_item(
                TableName=self._table,
                Key=_key(tenant),
                ConditionExpression="attribute_exists(pk)",
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            raise _not_found() from None

    def forget(self, tenant: str) -> None:
        """The endpoint, if there is one, and whatever was sent or is to be sent to it."""
        with contextlib.suppress(WebhookEndpointNotFound):
            self.remove(tenant)  # first, so that nothing new comes
        for row in rows.under(self._client, self._table, partition(tenant)):
            self._client.delete_item(
                TableName=self._table, Key=rows.as_item((row["pk"], row["sk"]))
            )

    def _update(
        self,
        tenant: str,
        expression: str,
        values: dict[str, Any],
        names: dict[str, str] | None = None,
        condition: str = "attribute_exists(pk)",
    ) -> bool:
        """Whether the row was there and met the condition."""
        named: Any = {"ExpressionAttributeNames": names} if names else {}
        try:
            self._client.update_item(
                TableName=self._table,
                Key=_key(tenant),
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeValues={name: serialize(v) for name, v in values.items()},
                **named,
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True


def partition(tenant: str) -> str:
    """The key under which everything about a tenant's webhooks lies."""
    return f"WEBHOOK#{tenant}"


def key(tenant: str) -> rows.Key:
    return partition(tenant), "ENDPOINT"


def _key(tenant: str) -> dict[str, Any]:
    return rows.as_item(key(tenant))


def _endpoint(tenant: str, row: rows.Row) -> Endpoint:
    return Endpoint(
        tenant=tenant,
        url=row["url"],
        events=tuple(row["events"]),
        secret=row["secret"],
        created_at=datetime.fromisoformat(row["created_at"]),
        previous_secret=row.get("previous_secret"),
        previous_secret_until=_time(row.get("previous_secret_until")),
        disabled_at=_time(row.get("disabled_at")),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _not_found() -> WebhookEndpointNotFound:
    return WebhookEndpointNotFound("PUT one first.")
