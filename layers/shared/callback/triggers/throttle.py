"""Throttles for actions that strangers can trigger at no cost: text replies and missed-call
callbacks.

One row for each throttle, `ONCE#<tenant>#<action>#<hash>`. The address is hashed as in the
suppression list, so the row contains no number.
"""

from datetime import timedelta

from callback import clock
from callback.amounts import Rate
from callback.lifecycle.models import to_text
from callback.storage import counters
from callback.storage.table import Expression, Table, key_row
from callback.tenancy.pepper import Pepper
from callback.tenancy.suppression import hash_address


class Throttle:
    def __init__(self, table: Table, pepper: Pepper) -> None:
        self._table = table
        self._pepper = pepper

    def allow_once(
        self, tenant: str, action: str, address: str, every: timedelta, *, by: str
    ) -> bool:
        """Whether the action was not allowed for this address within `every`.

        If so, the action counts as done from now on. `by` is the id of the request: a repeated
        request gets the same result. Raises what `Pepper.get` does.
        """
        now = clock.now()
        return self._table.put(
            {
                **key_row((self._partition(tenant, action, address), "ONCE")),
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

    def allow(self, tenant: str, action: str, address: str, rate: Rate, *, by: str) -> bool:
        """As `allow_once`, but up to `rate.count` times in each window of the rate."""
        began, until = counters.window(rate, clock.now())
        return self._table.update(
            (self._partition(tenant, action, address), str(began)),
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

    def _partition(self, tenant: str, action: str, address: str) -> str:
        return f"ONCE#{tenant}#{action}#{hash_address(self._pepper, address)}"
