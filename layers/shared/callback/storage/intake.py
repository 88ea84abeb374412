"""A new callback, and every row that is written in the same transaction, all or nothing:

* the callback's own (see `callbacks`), and those that list it (see `listings`);
* the pair row, unless the request allows parallel callbacks (see `pairs`);
* the idempotency key's two (see `idempotency_keys`);
* the tenant's counters (see `counters`), each on condition that it stays within its limit.
"""

from collections.abc import Sequence

from callback.errors import CallbackError, StoreContended
from callback.lifecycle.models import Callback
from callback.storage import callbacks, idempotency_keys
from callback.storage.callbacks import CallbackStore
from callback.storage.counters import Condition
from callback.storage.idempotency_keys import IdempotencyStore, Key
from callback.storage.listings import Listings
from callback.storage.pairs import Pairs
from callback.storage.table import ABSENT, CONDITION_FAILED, Table, put_row


class IntakeStore(CallbackStore):
    """Also adds callbacks and lists them. `sip_domain` is the deployment's."""

    def __init__(self, table: Table, *, sip_domain: str = "") -> None:
        super().__init__(table)
        self.keys = IdempotencyStore(table)
        self.listings = Listings(self, sip_domain)
        self.pairs = Pairs(self, sip_domain)

    def add(
        self,
        callback: Callback,
        key: Key | None = None,
        *,
        allow_parallel: bool = True,
        conditions: Sequence[Condition] = (),
    ) -> None:
        """Store a new callback with the rows that go with it, all or nothing.

        Raises KeyUsed for a key that is stored already and not too old, CallbackInProgress
        where the same two parties have a live callback, the refusal of a condition that does not
        hold, and StoreContended.
        """
        for attempt in range(callbacks.ATTEMPTS):
            writes = [put_row(callbacks.row(callback), ABSENT), *self.listings.writes(callback)]
            holder = None if allow_parallel else self.pairs.holder(callback)
            if key:
                # After the pair was read: whoever took the pair with this very key is the first
                # request of a repetition, not another callback in the way.
                self.keys.refuse_used(callback, key)
                writes += idempotency_keys.writes(callback, key)
            if not allow_parallel:
                writes.append(self.pairs.take(callback, holder))
            failed = self.table.transact(*writes, *(each.write for each in conditions))
            if failed is None:
                return
            refusal = _refusal(failed[len(writes) :], conditions)
            if refusal and CONDITION_FAILED not in failed[: len(writes)]:
                # Were one of the others taken as well, it might be by this very request, repeated.
                raise refusal
            if refusal is None and CONDITION_FAILED not in failed:
                callbacks.wait_a_little(attempt)
        raise StoreContended("Too many requests at once; nothing was done, send it again.")


def _refusal(failed: list[str], conditions: Sequence[Condition]) -> CallbackError | None:
    """Of the first condition that did not hold."""
    refusals = (
        c.refusal for why, c in zip(failed, conditions, strict=True) if why == CONDITION_FAILED
    )
    return next(refusals, None)
