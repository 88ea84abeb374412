"""DynamoDB: one row per callback, and rows that list it.

A callback is one item, both legs in it, so that whatever is decided about it is decided by
one conditional write: `change` reads the row, applies a pure function from `transitions`, and
writes it back on condition that nobody else wrote in between.

Other rows are written in the same transaction as the callback, all or nothing:

* listing rows hold no facts but the key: one under the tenant, one under each party's number, and
  one under each number that was only shown, so that whoever must be forgotten can be found.
  They never change, so a list costs one query and a batch of reads, and shows at once what was
  just accepted; one more, under OPEN, stays until `reconcile` needs it no more;
* the pair row names the one callback that may be live between two parties. Nobody removes it:
  whoever finds it taken looks whether that callback has ended, and takes it over;
* the idempotency row (see `idempotency`), and one beside the callback that names it;
* the tenant's counters (see `counters`), each on condition that it stays within its limit.
"""

import json
import random
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from callback import addresses, clock, counters, cursors, events
from callback.counters import Condition
from callback.errors import (
    CallbackError,
    CallbackInProgress,
    CallbackNotFound,
    StoreContended,
)
from callback.idempotency import LIFETIME, Answer, Key, KeyUsed, Used
from callback.models import Callback, CallbackStatus, from_record, to_record, to_text
from callback.table import (
    ABSENT,
    CONDITION_FAILED,
    Expression,
    Item,
    Row,
    Table,
    Write,
    delete_row,
    key_row,
    put_row,
    to_row,
)
from callback.table import Key as RowKey

_ATTEMPTS = 12
_RELEASE_ATTEMPTS = 4
# Seconds; all of a request's waits together stay under a second or two.
_SHORTEST_WAIT, _LONGEST_WAIT = 0.01, 0.4
_PAGE = 100  # keys per query and per batch of reads: BatchGetItem takes 100
_EXAMINED_AT_MOST = 500  # rows one list request may look at before it answers with a cursor
_LONGEST_SORT_KEY = 1024  # bytes (DynamoDB Developer Guide, "Constraints")
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)

_ERASED_TOGETHER = 80  # rows; a transaction takes 100 items

_OPEN = "OPEN"
_CALLBACK = "CALLBACK"
_KEY = "KEY#"


@dataclass(frozen=True)
class Page:
    """`cursor` None: nothing is left. A page may be short and still have a cursor."""

    callbacks: list[Callback]
    cursor: str | None


@dataclass(frozen=True)
class Holding:
    """All that the table holds of a callback: the record, None where it has expired and is gone,
    and the keys of every other row."""

    callback: Callback | None
    keys: list[RowKey]


class CallbackStore:
    """`sip_domain` is needed where callbacks are added or listed by number: a pair and a number
    are known by what is dialed, because one telephone may be spelled in several ways."""

    def __init__(self, table: Table, *, sip_domain: str = "") -> None:
        self._table = table
        self._sip_domain = sip_domain

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
        for attempt in range(_ATTEMPTS):
            writes = [put_row(_row(callback), ABSENT), *self._listing_writes(callback)]
            holder = None if allow_parallel else self._table.get(self._pair_key(callback))
            if key:
                # After the pair was read: whoever took the pair with this very key is the first
                # request of a repetition, not another callback in the way.
                self.refuse_used(callback, key)
                writes.append(put_row(_key_row(callback, key), _unless_fresh(callback.created_at)))
                writes.append(put_row(_named_key_row(callback, key), ABSENT))
            if not allow_parallel:
                writes.append(self._pair(callback, holder))
            failed = self._table.transact(*writes, *(each.write for each in conditions))
            if failed is None:
                return
            refusal = _refusal(failed[len(writes) :], conditions)
            if refusal and CONDITION_FAILED not in failed[: len(writes)]:
                # Were one of the others taken as well, it might be by this very request, repeated.
                raise refusal
            if refusal is None and CONDITION_FAILED not in failed:
                _wait_a_little(attempt)
        raise StoreContended("Too many requests at once; nothing was done, send it again.")

    def refuse_taken(self, callback: Callback) -> None:
        """Raises CallbackInProgress where the same two parties have a live callback."""
        self._pair(callback, self._table.get(self._pair_key(callback)))

    def refuse_used(self, callback: Callback, key: Key) -> None:
        """Raises KeyUsed for a key that is stored already and not too old."""
        row = self._table.get(_idempotency_row(callback.tenant, key.text))
        if row and datetime.fromisoformat(row["stored_at"]) > callback.created_at - LIFETIME:
            raise KeyUsed(
                Used(
                    fingerprint=row["fingerprint"],
                    callback_id=row["callback_id"],
                    stored_at=datetime.fromisoformat(row["stored_at"]),
                    answer=json.loads(row["answer"]) if "answer" in row else None,
                )
            )

    def _pair(self, callback: Callback, holder: Row | None) -> Write:
        """The write that takes the pair. Raises CallbackInProgress while another has it."""
        row = {
            **key_row(self._pair_key(callback)),
            "callback_id": callback.callback_id,
            **_until(callback.expires_at),
        }
        if holder is None:
            return put_row(row, ABSENT)
        try:
            live = self.get(holder["callback_id"])
        except CallbackNotFound:  # its retention is over
            live = None
        if live and live.status is not CallbackStatus.ENDED:
            raise CallbackInProgress(
                "Wait until it has ended, or cancel it; POST /voice/call/callback may also be sent"
                " allow_parallel.",
                callback_id=live.callback_id,
            )
        return put_row(row, Expression("callback_id = :holder", {":holder": holder["callback_id"]}))

    def remember_answer(self, tenant: str, key: Key, answer: Answer) -> None:
        """What the first request with this key was answered, for every repetition.

        Not where the callback was erased meanwhile: its answer names the parties.
        """
        self._table.update(
            _idempotency_row(tenant, key.text),
            Expression("SET answer = :answer", {":answer": json.dumps(answer)}),
            Expression("fingerprint = :fingerprint", {":fingerprint": key.fingerprint}),
        )

    def open(self) -> Iterator[Callback]:
        """Every callback that has not ended, or not long enough ago for `reconcile`."""
        for keys, _ in self._listed(_OPEN, to_text(_FIRST), to_text(_LAST), None):
            yield from self._read(keys).values()

    def forget_open(self, callback: Callback) -> None:
        self._table.delete((_OPEN, _listed_as(callback)))

    def listed(self, tenant: str, address: str | None, until: datetime) -> Iterator[str]:
        """Where each callback that was created by then stands in the tenant's list: all of them,
        or those in which the address was called or shown. Expired ones too, as long as they last.
        """
        listings = [
            self._listing(tenant, address),
            *([self._shown(tenant, address)] if address else []),
        ]
        for listing in listings:
            # The character after "#": with it, whatever was created in that very moment.
            for positions, _ in self._listed(listing, to_text(_FIRST), f"{to_text(until)}$", None):
                yield from positions

    def holding(self, tenant: str, position: str, address: str | None = None) -> Holding:
        """Everything there is of the callback that `listed` found, under that address."""
        callback_id = _listed_id(position)
        own = list(self._table.under(_partition(callback_id)))
        record = next((row for row in own if row["sk"] == _CALLBACK), None)
        callback = from_record(record) if record else None
        keys = [(row["pk"], row["sk"]) for row in own if row is not record]
        others = [
            _idempotency_row(tenant, row["sk"].removeprefix(_KEY))
            for row in own
            if row["sk"].startswith(_KEY)
        ]
        if callback:
            keys += self._listing_keys(callback)
            others.append(self._pair_key(callback))
        else:
            listings = {_OPEN, self._listing(tenant), self._listing(tenant, address)}
            if address:
                listings.add(self._shown(tenant, address))
            keys += [(listing, position) for listing in sorted(listings)]
        for key in others:  # a later callback may have taken these over
            taken = self._table.get(key)
            if taken and taken["callback_id"] == callback_id:
                keys.append(key)
        return Holding(callback, keys)

    def erase(self, holding: Holding, writes: list[Write]) -> bool:
        """Delete all of it and do `writes`, ten at most, all or nothing. False: somebody wrote
        meanwhile.
        """
        for key in holding.keys[:-_ERASED_TOGETHER]:
            self._table.delete(key)
        deletions = [delete_row(key) for key in holding.keys[-_ERASED_TOGETHER:]]
        if holding.callback:
            unchanged = Expression("revision = :seen", {":seen": holding.callback.revision})
            deletions.append(delete_row(_key(holding.callback.callback_id), unchanged))
        return self._table.transact(*deletions, *writes) is None

    def get(self, callback_id: str) -> Callback:
        """Strongly consistent. Raises CallbackNotFound."""
        row = self._table.get(_key(callback_id))
        callback = from_record(row) if row else None
        if callback is None or _expired(callback):
            raise CallbackNotFound("No callback has this id.")
        return callback

    def change(
        self, callback_id: str, change: Callable[[Callback], Callback | None]
    ) -> tuple[Callback, bool]:
        """Apply a transition atomically: (the callback as it now stands, was it allowed).

        Raises CallbackNotFound, and StoreContended if others kept winning the race.
        """
        for _ in range(_ATTEMPTS):
            before = self.get(callback_id)
            after = change(before)
            if after is None:
                return before, False
            if after == before:  # heard already: durable, nothing to write
                return before, True
            after = events.counted(before, replace(after, revision=before.revision + 1))
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
            marked = put_row(_row(after), _unless_changed(after))
            if self._table.transact(marked, *counters.given_back(callback)) is None:
                return True
            _wait_a_little(attempt)
            try:
                callback = self.get(callback.callback_id)
            except CallbackNotFound:  # erased, which waits until all is given back
                return True
        return False

    def _replaced(self, callback: Callback) -> bool:
        mark = secrets.token_hex(8)
        stored = self._table.put_or_read(
            {**_row(callback), "mark": mark}, _unless_changed(callback)
        )
        # boto3 sends a write again whose answer was lost, and is refused for its own write.
        return stored is None or stored.get("mark") == mark

    def page(
        self,
        tenant: str,
        *,
        wanted: Callable[[Callback], bool],
        number: str | None,
        after: datetime | None,
        before: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> Page:
        """Newest first. Raises InvalidRequest for a cursor that no page of this list gave."""
        found: list[Callback] = []
        examined = 0
        position = _position(cursor)
        first, last = to_text(after or _FIRST), to_text(before or _LAST)
        # DynamoDB refuses both of these as invalid queries.
        if first > last:
            return Page([], None)
        if position and not first <= position <= last:
            raise cursors.invalid()
        for keys, more in self._listed(self._listing(tenant, number), first, last, position):
            callbacks = self._read(keys)
            for place, key in enumerate(keys, 1):
                examined += 1
                callback = callbacks.get(_listed_id(key))
                if callback and wanted(callback):
                    found.append(callback)
                if len(found) == limit or examined == _EXAMINED_AT_MOST:
                    return Page(found, cursors.of(key) if more or place < len(keys) else None)
        return Page(found, None)

    def _listed(
        self, listing: str, first: str, last: str, position: str | None
    ) -> Iterator[tuple[list[str], bool]]:
        """Pages of sort keys, newest first, and whether more follow."""
        between = Expression(
            "pk = :listing AND sk BETWEEN :first AND :last",
            {":listing": listing, ":first": first, ":last": last},
        )
        before = (listing, position) if position else None
        while True:
            rows, before = self._table.last(between, limit=_PAGE, before=before)
            yield [row["sk"] for row in rows], before is not None
            if before is None:
                return

    def _read(self, listed: list[str]) -> dict[str, Callback]:
        """The callbacks behind listing keys, by id."""
        rows = self._table.read([_key(_listed_id(key)) for key in listed])
        callbacks = map(from_record, rows.values())
        return {each.callback_id: each for each in callbacks if not _expired(each)}

    def _listing(self, tenant: str, number: str | None = None) -> str:
        return f"TENANT#{tenant}" + (f"#NUMBER#{self._line(number)}" if number else "")

    def _listing_writes(self, callback: Callback) -> list[Write]:
        until = _until(callback.expires_at)
        return [put_row(key_row(key) | until, ABSENT) for key in self._listing_keys(callback)]

    def _listing_keys(self, callback: Callback) -> list[RowKey]:
        numbers = (None, *(leg.to for leg in callback.legs))
        listings = [
            _OPEN,
            *(self._listing(callback.tenant, number) for number in numbers),
            *self._shown_listings(callback),
        ]
        return [(listing, _listed_as(callback)) for listing in listings]

    def _shown_listings(self, callback: Callback) -> list[str]:
        called = {self._line(leg.to) for leg in callback.legs}
        only_shown = {
            leg.caller_id for leg in callback.legs if self._line(leg.caller_id) not in called
        }
        return sorted({self._shown(callback.tenant, number) for number in only_shown})

    def _shown(self, tenant: str, number: str) -> str:
        return f"TENANT#{tenant}#SHOWN#{self._line(number)}"

    def _pair_key(self, callback: Callback) -> RowKey:
        one, other = sorted(self._line(leg.to) for leg in callback.legs)
        return f"PAIR#{callback.tenant}#{one}#{other}", "PAIR"

    def _line(self, address: str) -> str:
        return addresses.dial_target(address, self._sip_domain)


def from_image(image: Item) -> Callback:
    """The callback whose row is an image in the table's stream."""
    return from_record(to_row(image))


def _partition(callback_id: str) -> str:
    return f"CALLBACK#{callback_id}"


def _key(callback_id: str) -> RowKey:
    return _partition(callback_id), _CALLBACK


def _row(callback: Callback) -> Row:
    key = key_row(_key(callback.callback_id))
    return key | to_record(callback) | _until(callback.expires_at)


def _until(moment: datetime) -> Row:
    """DynamoDB deletes the row some time after this moment (TimeToLiveSpecification)."""
    return {"ttl": int(moment.timestamp())}


def _listed_as(callback: Callback) -> str:
    return f"{to_text(callback.created_at)}#{callback.callback_id}"


def _unless_changed(callback: Callback) -> Expression:
    return Expression("revision = :before", {":before": callback.revision - 1})


def _refusal(failed: list[str], conditions: Sequence[Condition]) -> CallbackError | None:
    """Of the first condition that did not hold."""
    refusals = (
        c.refusal for why, c in zip(failed, conditions, strict=True) if why == CONDITION_FAILED
    )
    return next(refusals, None)


def _wait_a_little(attempt: int) -> None:
    """Longer each time and never the same, so that those who met do not meet again at once."""
    time.sleep(random.uniform(0, min(_LONGEST_WAIT, _SHORTEST_WAIT * 2**attempt)))  # noqa: S311


def _idempotency_row(tenant: str, text: str) -> RowKey:
    return f"IDEMPOTENCY#{tenant}#{text}", "KEY"


def _key_row(callback: Callback, key: Key) -> Row:
    return {
        **key_row(_idempotency_row(callback.tenant, key.text)),
        "fingerprint": key.fingerprint,
        "callback_id": callback.callback_id,
        "stored_at": to_text(callback.created_at),
        **_until(callback.created_at + LIFETIME),
    }


def _named_key_row(callback: Callback, key: Key) -> Row:
    named = _partition(callback.callback_id), f"{_KEY}{key.text}"
    return key_row(named) | _until(callback.expires_at)


def _unless_fresh(now: datetime) -> Expression:
    """A key that has outlived its 24 hours is as good as none, whether it is gone or not."""
    return Expression(
        "attribute_not_exists(pk) OR stored_at <= :too_old",
        {":too_old": to_text(now - LIFETIME)},
    )


def _listed_id(position: str) -> str:
    return position.rpartition("#")[2]


def _expired(callback: Callback) -> bool:
    """DynamoDB may take days to delete what has expired; nobody should see it meanwhile."""
    return callback.expires_at <= clock.now()


def _position(cursor: str | None) -> str | None:
    """A cursor is a place within the caller's own listing, so it cannot lead elsewhere."""
    if cursor is None:
        return None
    position = cursors.position_in(cursor)
    created_at, _, callback_id = position.partition("#")
    if not (created_at and callback_id) or len(position.encode()) > _LONGEST_SORT_KEY:
        raise cursors.invalid()
    return position
