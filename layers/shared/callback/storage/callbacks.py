"""The callbacks' own rows: one item each, `CALLBACK#<id>` / `CALLBACK`, with both legs.

One conditional write makes every decision about a callback. `change` reads the row, applies a pure
function from `transitions`, and writes the row back if nobody has written it in between.
`intake` writes a new callback together with its other rows.
"""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace

from callback import clock
from callback.errors import CallbackNotFound, StoreContended
from callback.lifecycle import events
from callback.lifecycle.models import (
    Callback,
    CallbackStatus,
    from_record,
    to_record,
    to_text,
)
from callback.storage import counters
from callback.storage.table import (
    Expression,
    Item,
    Key,
    Row,
    RowInTransaction,
    Table,
    Write,
    expiry,
    key_row,
    put_row,
    to_row,
    wait_a_little,
)

ATTEMPTS = 12

RECORD = "CALLBACK"


class CallbackStore:
    def __init__(self, table: Table) -> None:
        self.table = table

    def get(self, callback_id: str) -> Callback:
        """Strongly consistent. Raises CallbackNotFound."""
        row = self.table.get(key(callback_id))
        callback = from_record(row) if row else None
        if callback is None or _expired(callback):
            raise CallbackNotFound("No callback has this id.")
        return callback

    def find(self, callback_ids: Iterable[str]) -> dict[str, Callback]:
        """The existing ones among at most 100 ids, by id. Strongly consistent."""
        rows = self.table.read([key(callback_id) for callback_id in callback_ids])
        callbacks = map(from_record, rows.values())
        return {each.callback_id: each for each in callbacks if not _expired(each)}

    def change(
        self,
        callback_id: str,
        change: Callable[[Callback], Callback | None],
        *,
        known: Callback | None = None,
    ) -> tuple[Callback, bool]:
        """Apply a transition atomically. Returns (the current callback, whether it was allowed).

        `known` is the row as the caller has just written it: if nobody has written since, the
        change is one write without a read.
        Raises CallbackNotFound, and StoreContended if other writes won every attempt.
        """
        if known and (after := change(known)) not in (None, known):
            after = events.with_event_count(known, replace(after, revision=known.revision + 1))
            if self._replaced(after):
                return after, True
        for _ in range(ATTEMPTS):
            before = self.get(callback_id)
            after = change(before)
            if after is None:
                return before, False
            if after == before:  # a repeated report: it is stored already
                return before, True
            after = events.with_event_count(before, replace(after, revision=before.revision + 1))
            if self._replaced(after):
                return after, True
        raise StoreContended(
            "Too many concurrent changes. Nothing was lost. Send the request again."
        )

    def release(self, callback: Callback) -> bool:
        """Release an ended callback's reservation of its tenant's limits, and its place among the
        waiting ones, once.

        False: other writes won every attempt. The call can be repeated safely.
        """
        for attempt in range(ATTEMPTS):
            reservation = callback.reservation
            is_held = reservation is not None and not reservation.released
            if callback.status is not CallbackStatus.ENDED:
                return True
            if not is_held and callback.waiting_place is None:
                return True
            after = replace(
                callback,
                reservation=replace(reservation, released=True) if reservation else None,
                waiting_place=None,
                revision=callback.revision + 1,
            )
            writes = replacement(after), *counters.release_writes(callback)
            if self.table.transact_once(*writes) is None:
                return True
            wait_a_little(attempt)
            try:
                callback = self.get(callback.callback_id)
            except CallbackNotFound:  # erased; an erasure waits for the release
                return True
        return False

    def _replaced(self, callback: Callback) -> bool:
        mark = secrets.token_hex(8)
        marked = {**row(callback), "mark": mark}
        try:
            stored = self.table.put_or_read(marked, _unless_changed(callback))
        except RowInTransaction:
            return False
        # If a response is lost, boto3 repeats the write. The repetition fails its condition because
        # of the first write, which has the same mark.
        return stored is None or stored.get("mark") == mark


def from_image(image: Item) -> Callback:
    """The callback from an image of its row in the table's stream."""
    return from_record(to_row(image))


def partition(callback_id: str) -> str:
    """The partition of a callback's own row and of the rows that belong to it."""
    return f"CALLBACK#{callback_id}"


def key(callback_id: str) -> Key:
    return partition(callback_id), RECORD


def row(callback: Callback) -> Row:
    keys = key_row(key(callback.callback_id))
    record = to_record(callback)
    return keys | record | index_entry(callback) | expiry(callback.expires_at)


def index_entry(callback: Callback) -> Row:
    """The row's attributes in the sparse index `due`. Every write of the row writes them."""
    if callback.status is not CallbackStatus.WAITING:
        return {}
    return {"due_in": waiting_in(callback.tenant), "due_at": to_text(callback.created_at)}


def waiting_in(tenant: str) -> str:
    """The group of the index `due` with a tenant's waiting callbacks."""
    return f"WAITING#{tenant}"


def id_of(pk: str) -> str:
    """The inverse of `partition`."""
    return pk.removeprefix("CALLBACK#")


def replacement(callback: Callback) -> Write:
    """The write of the row, on condition that its last revision is still stored."""
    return put_row(row(callback), _unless_changed(callback))


def _unless_changed(callback: Callback) -> Expression:
    return Expression("revision = :before", {":before": callback.revision - 1})


def _expired(callback: Callback) -> bool:
    """Hides an expired callback: DynamoDB may take days to delete it."""
    return callback.expires_at <= clock.now()
