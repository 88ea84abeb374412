"""Stores a new callback. One transaction writes all its rows, all or nothing:

* the callback's own row (see `callbacks`), and the rows that list it (see `listings`);
* the pair row, unless the request allows parallel callbacks (see `pairs`);
* the two rows of the idempotency key (see `idempotency_keys`);
* the tenant's counters (see `counters`), on condition that each stays within its limit.
"""

from collections.abc import Sequence
from dataclasses import replace

from callback.errors import CallbackError, StoreContended
from callback.lifecycle import events
from callback.lifecycle.models import Callback
from callback.storage import callbacks, counters, idempotency_keys
from callback.storage.callbacks import CallbackStore
from callback.storage.counters import Condition
from callback.storage.idempotency_keys import IdempotencyStore, Key
from callback.storage.listings import Listings
from callback.storage.pairs import Pairs
from callback.storage.table import ABSENT, CONDITION_FAILED, Table, put_row, wait_a_little


class IntakeStore(CallbackStore):
    """A CallbackStore that also adds and lists callbacks. `sip_domain` is the deployment's."""

    def __init__(self, table: Table, *, sip_domain: str = "") -> None:
        super().__init__(table)
        self.keys = IdempotencyStore(table)
        self.listings = Listings(self, sip_domain)
        self.pairs = Pairs(self, sip_domain)

    def start(
        self, before: Callback, after: Callback, conditions: Sequence[Condition]
    ) -> Callback | None:
        """Store a callback that stops waiting, and give back its place, all or nothing. Returns it
        as it is stored. None: it was changed since it was read.

        Raises the refusal of a condition that does not hold, and StoreContended.
        """
        after = events.with_event_count(before, replace(after, revision=before.revision + 1))
        own = [callbacks.replacement(after), *counters.stop_waiting(before)]
        for attempt in range(callbacks.ATTEMPTS):
            reasons = self.table.transact_once(*own, *(each.write for each in conditions))
            if reasons is None:
                return after
            if reasons[0] == CONDITION_FAILED:
                return None
            if refusal := _refusal(reasons[len(own) :], conditions):
                raise refusal
            wait_a_little(attempt)
        raise StoreContended("Too many concurrent changes. The callback still waits.")

    def add(
        self,
        callback: Callback,
        key: Key | None = None,
        *,
        allow_parallel: bool = True,
        conditions: Sequence[Condition] = (),
    ) -> Callback:
        """Store a new callback with its other rows, all or nothing. Returns it as it is stored.

        The transaction itself checks everything. Only after it failed, the rows that made it fail
        are read.
        Raises KeyUsed for a stored key that has not expired, CallbackInProgress if the same two
        parties have a live callback, the refusal of a condition that does not hold, and
        StoreContended.
        """
        callback = events.with_event_count(None, callback)
        writes = [put_row(callbacks.row(callback), ABSENT), *self.listings.writes(callback)]
        if key:
            writes += idempotency_keys.writes(callback, key)
        pair = None if allow_parallel else self.pairs.take(callback, None)
        for attempt in range(callbacks.ATTEMPTS):
            own = [*writes, pair] if pair else writes
            reasons = self.table.transact_once(*own, *(each.write for each in conditions))
            if reasons is None:
                return callback
            if CONDITION_FAILED in reasons[: len(own)]:
                holder = self.pairs.holder(callback) if pair else None
                if key:
                    # Check the key after reading the pair. If the same request took the pair
                    # before, this is a repetition (KeyUsed) and not a conflict
                    # (CallbackInProgress).
                    self.keys.refuse_used(callback, key)
                if pair:
                    pair = self.pairs.take(callback, holder)
            elif refusal := _refusal(reasons[len(own) :], conditions):
                # If another write failed as well, an earlier send of this request may have won.
                raise refusal
            else:
                wait_a_little(attempt)
        raise StoreContended(
            "Too many concurrent requests. Nothing was stored. Send the request again."
        )


def _refusal(reasons: list[str], conditions: Sequence[Condition]) -> CallbackError | None:
    """The refusal of the first condition that did not hold."""
    refusals = (
        c.refusal
        for reason, c in zip(reasons, conditions, strict=True)
        if reason == CONDITION_FAILED
    )
    return next(refusals, None)
