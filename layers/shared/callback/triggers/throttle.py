"""Once in a while, or a few times, and no more often: what strangers set off for nothing.

One row each, `ONCE#<tenant>#<what>#<hash>`; the hash is that of the suppression list, so the row
names nobody either.
"""

from datetime import timedelta

from callback import clock
from callback.amounts import Rate
from callback.lifecycle.models import to_text
from callback.storage import counters
from callback.storage.table import Expression, Table, key_row
from callback.tenancy.suppression import hash_address
from callback.tenancy.tenants import Pepper


class Once:
    def __init__(self, table: Table, pepper: Pepper) -> None:
        self._table = table
        self._pepper = pepper

    def may(self, tenant: str, what: str, address: str, every: timedelta, *, by: str) -> bool:
        """Whether nobody has for this address within `every`; it counts as done from here on.

        `by` is the id of the request, so that the same one asked again gets the same answer.
        Raises what `Pepper.get` does.
        """
        now = clock.now()
        return self._table.put(
            {
                **key_row((self._partition(tenant, what, address), "ONCE")),
                "by": by,
                "done_at": to_text(now),
                "ttl": int((now + every).timestamp()),
            },
            Expression(
                "attribute_not_exists(pk) OR done_at <= :then OR #by = :by",
                {":then": to_text(now - every), ":by": by},
                {"#by": "by"},
            ),
        )

    def may_so_often(self, tenant: str, what: str, address: str, rate: Rate, *, by: str) -> bool:
        """As `may`, as often as the rate says."""
        began, until = counters.window(rate, clock.now())
        return self._table.update(
            (self._partition(tenant, what, address), str(began)),
            Expression(
                "ADD #by :by SET #ttl = :ttl",
                {":by": {by}, ":ttl": int(until.timestamp())},
                {"#by": "by", "#ttl": "ttl"},
            ),
            Expression(
                "attribute_not_exists(pk) OR size(#by) < :count OR contains(#by, :one)",
                {":count": rate.count, ":one": by},
            ),
        )

    def _partition(self, tenant: str, what: str, address: str) -> str:
        return f"ONCE#{tenant}#{what}#{hash_address(self._pepper, address)}"
