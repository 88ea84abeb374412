"""The callbacks' own rows: one item for each, `CALLBACK#<id>` / `CALLBACK`, both legs in it.

So one conditional write decides whatever is decided about a callback: `change` reads the row,
applies a pure function from `transitions`, and writes the row back on condition that nobody else
wrote in between. Other rows are written together with a new callback's: see `intake`.
"""

import random
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from callback import clock
from callback.errors import CallbackNotFound, StoreContended
from callback.lifecycle import events
from callback.lifecycle.models import Callback, CallbackStatus, from_record, to_record
from callback.storage import counters
from callback.storage.table import (
    Expression,
    Item,
    Key,
    Row,
    Table,
    expiry,
    key_row,
    put_row,
    to_row,
)

ATTEMPTS = 12
_RELEASE_ATTEMPTS = 4
# Seconds; all of a request's waits together stay under a second or two.
_SHORTEST_WAIT, _LONGEST_WAIT = 0.01, 0.4

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
        """Those that exist of at most 100, by id. Strongly consistent."""
        found = self.table.read([key(callback_id) for callback_id in callback_ids])
        callbacks = map(from_record, found.values())
        return {each.callback_id: each for each in callbacks if not _expired(each)}

    def change(
        self, callback_id: str, change: Callable[[Callback], Callback | None]
    ) -> tuple[Callback, bool]:
        """Apply a transition atomically: (the callback as it now stands, was it allowed).

        Raises CallbackNotFound, and StoreContended if others kept winning the race.
        """
        for _ in range(ATTEMPTS):
            before = self.get(callback_id)
            after = change(before)
            if after is None:
                return before, False
            if after == before:  # heard already: durable, nothing to write
                return before, True
            after = events.with_event_count(before, replace(after, revision=before.revision + 1))
            if self._replaced(after):
                return after, True
        raise StoreContended("Too many changes at once; nothing was lost, send it again.")

    def release(self, callback: Callback) -> bool:
        """Give back what an ended callback held of its tenant's limits, once.

        False: others were writing the same rows; whoever asks again loses nothing.
        """
        for attempt in range(_RELEASE_ATTEMPTS):
            held = callback.reservation
            if callback.status is not CallbackStatus.ENDED or held is None or held.released:
                return True
            after = replace(
                callback,
                reservation=replace(held, released=True),
                revision=callback.revision + 1,
            )
            marked = put_row(row(after), _unless_changed(after))
            if self.table.transact(marked, *counters.given_back(callback)) is None:
                return True
            wait_a_little(attempt)
            try:
                callback = self.get(callback.callback_id)
            except CallbackNotFound:  # erased, which waits until all is given back
                return True
        return False

    def _replaced(self, callback: Callback) -> bool:
        mark = secrets.token_hex(8)
        stored = self.table.put_or_read({**row(callback), "mark": mark}, _unless_changed(callback))
        # boto3 sends a write again whose answer was lost, and is refused for its own write.
        return stored is None or stored.get("mark") == mark


def from_image(image: Item) -> Callback:
    """The callback whose row is an image in the table's stream."""
    return from_record(to_row(image))


def partition(callback_id: str) -> str:
    """Its row lies there, and one for each thing that belongs to it."""
    return f"CALLBACK#{callback_id}"


def key(callback_id: str) -> Key:
    return partition(callback_id), RECORD


def row(callback: Callback) -> Row:
    named = key_row(key(callback.callback_id))
    return named | to_record(callback) | expiry(callback.expires_at)


def wait_a_little(attempt: int) -> None:
    """Longer each time and never the same, so that those who met do not meet again at once."""
    time.sleep(random.uniform(0, min(_LONGEST_WAIT, _SHORTEST_WAIT * 2**attempt)))  # noqa: S311


def _unless_changed(callback: Callback) -> Expression:
    return Expression("revision = :before", {":before": callback.revision - 1})


def _expired(callback: Callback) -> bool:
    """DynamoDB may take days to delete what has expired; nobody should see it meanwhile."""
    return callback.expires_at <= clock.now()
