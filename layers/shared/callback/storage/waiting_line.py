"""The callbacks that wait to be started: per tenant in order of arrival, the tenants in turn.

The callbacks of a tenant are in the sparse index `due`, by the time of their creation. The index is
eventually consistent: an entry may be missing for a moment, or out of date. Whoever starts a
callback decides on its row.

A row under WAITING-TENANTS names each tenant that may have waiting callbacks. `served_us` is when
one of them was last started, and `arrived_us` when one last began to wait (microseconds since
1970). The row is written before the callback is stored, and deleted a while after nobody waits.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from callback.lifecycle.models import Callback, CallbackStatus
from callback.storage.callbacks import CallbackStore, id_of, waiting_in
from callback.storage.departures import to_us
from callback.storage.table import MOST_READ, PRESENT, Expression, Key

_TENANTS = "WAITING-TENANTS"

# Longer than any process takes from `join` until its callback is stored and in the index.
_MAY_STILL_ARRIVE = timedelta(minutes=2)

# Most callbacks of one tenant that one message tries to start.
_TRIED_AT_ONCE = 25


_EARLIEST = "0"  # before every time, as a text


class WaitingTenant(NamedTuple):
    name: str
    served_us: int
    arrived_us: int


class WaitingLine:
    def __init__(self, store: CallbackStore) -> None:
        self._store = store

    def join(self, tenant: str, now: datetime) -> None:
        """Name a tenant, of which a callback will wait."""
        change = Expression(
            "SET arrived_us = :now, served_us = if_not_exists(served_us, :now)",
            {":now": to_us(now)},
        )
        self._store.table.update(_key(tenant), change)

    def serve(self, tenant: str, now: datetime) -> None:
        """Let the other tenants come first: one of this tenant's callbacks is started."""
        change = Expression("SET served_us = :now", {":now": to_us(now)})
        self._store.table.update(_key(tenant), change, PRESENT)

    def leave(self, tenant: WaitingTenant, now: datetime) -> None:
        """Forget a tenant of which nobody waits, unless a callback may just be arriving."""
        if tenant.arrived_us < to_us(now - _MAY_STILL_ARRIVE):
            unchanged = Expression("arrived_us = :seen", {":seen": tenant.arrived_us})
            self._store.table.delete(_key(tenant.name), unchanged)

    def tenants(self) -> list[WaitingTenant]:
        """The tenants that may have waiting callbacks, the least recently served first."""
        rows = self._store.table.under(_TENANTS)
        tenants = (
            WaitingTenant(row["sk"], int(row["served_us"]), int(row["arrived_us"])) for row in rows
        )
        return sorted(tenants, key=lambda tenant: (tenant.served_us, tenant.name))

    def next_callbacks(self, tenant: str) -> Iterator[Callback]:
        """The tenant's first waiting callbacks, each read when it is asked for."""
        for callback_id in self._ids(tenant, _EARLIEST, _TRIED_AT_ONCE):
            callback = self._store.find([callback_id]).get(callback_id)
            if callback and callback.status is CallbackStatus.WAITING:
                yield callback

    def callbacks(self, tenant: str) -> Iterator[Callback]:
        """All of the tenant's waiting callbacks, in order of arrival."""
        after, seen = _EARLIEST, set[str]()
        while True:
            ids = self._ids(tenant, after, MOST_READ)
            if ids.keys() <= seen:
                return
            found = self._store.find(ids.keys() - seen)
            for callback_id in ids:
                callback = found.get(callback_id)
                if callback and callback.status is CallbackStatus.WAITING:
                    yield callback
            seen |= ids.keys()
            after = max(ids.values())

    def _ids(self, tenant: str, after: str, limit: int) -> dict[str, str]:
        """Ids of the first callbacks that began to wait at `after` or later, each with its time."""
        entry = Expression(
            "due_in = :group AND due_at >= :after", {":group": waiting_in(tenant), ":after": after}
        )
        rows = self._store.table.due(entry, limit)
        return {id_of(row["pk"]): row["due_at"] for row in rows}


def _key(tenant: str) -> Key:
    return _TENANTS, tenant
