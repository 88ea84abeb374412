"""A tenant's webhook endpoint, and the secrets that sign what is sent to it.

One row for each tenant, WEBHOOK#<tenant> / ENDPOINT in the table of the callbacks. Signing needs
the secret itself, so it cannot be stored as a hash, as an API key is. The table is encrypted with
a KMS key.
"""

import contextlib
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from callback import clock
from callback.errors import StoreContended, TooManyRotations, WebhookEndpointNotFound
from callback.lifecycle.models import to_text
from callback.storage.table import ABSENT, PRESENT, Expression, Key, Row, Table, key_row
from callback.webhooks import signature

# How long a secret keeps signing after a rotation, and how many earlier ones may sign at a time.
# None is dropped early: it may be the only one that the client has received.
OVERLAP = timedelta(hours=24)
MOST_EARLIER = 5

_ATTEMPTS = 3


@dataclass(frozen=True)
class EarlierSecret:
    """A secret from before a rotation, which also signs until `until`."""

    secret: str = field(repr=False)
    until: datetime


@dataclass(frozen=True)
class Endpoint:
    """`events` are types of events, or `leg.*`. `earlier` secrets are sorted, the newest first.
    An endpoint with `disabled_at` receives nothing."""

    tenant: str
    url: str
    events: tuple[str, ...]
    secret: str = field(repr=False)
    created_at: datetime
    earlier: tuple[EarlierSecret, ...] = ()
    disabled_at: datetime | None = None

    def still_signing(self, now: datetime) -> list[EarlierSecret]:
        """The earlier secrets that sign at this moment, the newest first."""
        return [each for each in self.earlier if now < each.until]

    def secrets(self, now: datetime) -> list[str]:
        """All secrets that sign at this moment, the newest first."""
        return [self.secret, *(each.secret for each in self.still_signing(now))]


class EndpointStore:
    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, tenant: str) -> Endpoint | None:
        """Strongly consistent."""
        row = self._table.get(key(tenant))
        return from_row(tenant, row) if row else None

    def get(self, tenant: str) -> Endpoint:
        """Strongly consistent. Raises WebhookEndpointNotFound."""
        endpoint = self.find(tenant)
        if endpoint is None:
            raise _not_found()
        return endpoint

    def put(self, tenant: str, url: str, events: Collection[str]) -> tuple[Endpoint, bool]:
        """Create or change the endpoint. Returns the endpoint and whether it is new.

        A change keeps the secret and re-enables a disabled endpoint. Raises StoreContended."""
        for _ in range(_ATTEMPTS):
            if self._update(tenant, url, events):
                return self.get(tenant), False
            if self._add(tenant, url, events):
                return self.get(tenant), True
        raise StoreContended("Another request is changing the endpoint. Try again.")

    def _update(self, tenant: str, url: str, events: Collection[str]) -> bool:
        change = Expression(
            "SET #url = :url, #events = :events REMOVE disabled_at",
            {":url": url, ":events": list(events)},
            {"#url": "url", "#events": "events"},
        )
        return self._table.update(key(tenant), change, PRESENT)

    def _add(self, tenant: str, url: str, events: Collection[str]) -> bool:
        row = {
            **key_row(key(tenant)),
            "url": url,
            "events": list(events),
            "secret": signature.new_secret(),
            "created_at": to_text(clock.now()),
        }
        return self._table.put(row, ABSENT)

    def rotate(self, tenant: str) -> Endpoint:
        """Make a new secret. Each earlier secret also signs for a day from its rotation.

        So a client whose response was lost can rotate again: whichever secret it has verifies.
        Raises WebhookEndpointNotFound, TooManyRotations, and StoreContended if another request
        rotates at the same time."""
        before, now = self.get(tenant), clock.now()
        earlier = [EarlierSecret(before.secret, now + OVERLAP), *before.still_signing(now)]
        if len(earlier) > MOST_EARLIER:
            raise _too_many(earlier[-1].until - now)
        change = Expression(
            "SET secret = :new, earlier = :earlier",
            {
                ":new": signature.new_secret(),
                ":earlier": [
                    {"secret": each.secret, "until": to_text(each.until)} for each in earlier
                ],
            },
        )
        unless_rotated = Expression("secret = :old", {":old": before.secret})
        if not self._table.update(key(tenant), change, unless_rotated):
            raise StoreContended("Another request is rotating the secret. Try again.")
        return self.get(tenant)

    def disable(self, tenant: str, url: str) -> None:
        """The URL responded that it is gone (410). Does nothing if the endpoint has another URL."""
        self._table.update(
            key(tenant),
            Expression(
                "SET disabled_at = if_not_exists(disabled_at, :now)",
                {":now": to_text(clock.now())},
            ),
            Expression("#url = :url", {":url": url}, {"#url": "url"}),
        )

    def remove(self, tenant: str) -> None:
        """Raises WebhookEndpointNotFound."""
        if not self._table.delete(key(tenant), PRESENT):
            raise _not_found()

    def forget(self, tenant: str) -> None:
        """Delete the endpoint, if there is one, and all its deliveries."""
        with contextlib.suppress(WebhookEndpointNotFound):
            self.remove(tenant)  # first, so that no new delivery is made
        for row in self._table.under(partition(tenant)):
            self._table.delete((row["pk"], row["sk"]))


def partition(tenant: str) -> str:
    """The partition key of all rows of a tenant's webhooks."""
    return f"WEBHOOK#{tenant}"


def tenant_of(pk: str) -> str:
    """The tenant of a `partition`."""
    return pk.partition("#")[2]


def key(tenant: str) -> Key:
    return partition(tenant), "ENDPOINT"


def from_row(tenant: str, row: Row) -> Endpoint:
    disabled_at = row.get("disabled_at")
    return Endpoint(
        tenant=tenant,
        url=row["url"],
        events=tuple(row["events"]),
        secret=row["secret"],
        created_at=datetime.fromisoformat(row["created_at"]),
        earlier=tuple(
            EarlierSecret(each["secret"], datetime.fromisoformat(each["until"]))
            for each in row.get("earlier", [])
        ),
        disabled_at=datetime.fromisoformat(disabled_at) if disabled_at else None,
    )


def _too_many(wait: timedelta) -> TooManyRotations:
    return TooManyRotations(
        f"{MOST_EARLIER} earlier secrets still sign. Wait, or DELETE and PUT the endpoint.",
        headers={"Retry-After": str(math.ceil(wait.total_seconds()))},
    )


def _not_found() -> WebhookEndpointNotFound:
    return WebhookEndpointNotFound("Set an endpoint first: PUT /voice/webhook/endpoint.")
