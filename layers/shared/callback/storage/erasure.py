"""Finds and deletes all rows of one callback together."""

from dataclasses import dataclass

from callback.lifecycle.models import Callback, from_record
from callback.storage import callbacks, idempotency_keys
from callback.storage.intake import IntakeStore
from callback.storage.listings import listed_id
from callback.storage.table import Expression, Key, Write, delete_row

_ERASED_TOGETHER = 80  # rows; a transaction has at most 100 items


@dataclass(frozen=True)
class Holding:
    """The record, and the keys of all other rows. The record is None once DynamoDB deleted it."""

    callback: Callback | None
    keys: list[Key]


class Holdings:
    def __init__(self, store: IntakeStore) -> None:
        self.listings = store.listings
        self._pairs = store.pairs
        self._table = store.table

    def find(self, tenant: str, position: str, address: str | None = None) -> Holding:
        """All rows of the callback at a position that `Listings.positions` gave for `address`."""
        callback_id = listed_id(position)
        rows = list(self._table.under(callbacks.partition(callback_id)))
        record = next((row for row in rows if row["sk"] == callbacks.RECORD), None)
        callback = from_record(record) if record else None
        keys = [(row["pk"], row["sk"]) for row in rows if row is not record]
        shared = idempotency_keys.find_keys(tenant, rows)
        if callback:
            keys += self.listings.keys(callback)
            shared.append(self._pairs.key(callback))
        else:
            keys += self.listings.keys_at(tenant, position, address)
        for key in shared:  # a later callback may own these rows by now
            row = self._table.get(key)
            if row and row["callback_id"] == callback_id:
                keys.append(key)
        return Holding(callback, keys)

    def erase(self, holding: Holding, writes: list[Write]) -> bool:
        """Delete all rows and do `writes` (at most ten), all or nothing.

        False: the callback was written in between.
        """
        for key in holding.keys[:-_ERASED_TOGETHER]:
            self._table.delete(key)
        deletions = [delete_row(key) for key in holding.keys[-_ERASED_TOGETHER:]]
        if holding.callback:
            unchanged = Expression("revision = :before", {":before": holding.callback.revision})
            deletions.append(delete_row(callbacks.key(holding.callback.callback_id), unchanged))
        return self._table.transact(*deletions, *writes) is None
