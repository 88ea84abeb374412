"""Rows that list callbacks. They are written with the callback, never change, and hold only a key.

One row lies under the tenant, and one under each party's number. One lies under each number that
was only a caller ID, so that an erasure finds it. A list costs one query and a batch of reads, and
contains a new callback at once. One more row lies under OPEN, until `reconcile` no longer needs it.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from callback.lifecycle.models import Callback, to_text
from callback.numbering import addresses
from callback.storage import cursors
from callback.storage.callbacks import CallbackStore
from callback.storage.table import ABSENT, Expression, Key, Table, Write, expiry, key_row, put_row

_PAGE = 100  # keys per query and per batch of reads: BatchGetItem takes 100
_EXAMINED_AT_MOST = 500  # rows that one list request reads before it returns a cursor
_LONGEST_SORT_KEY = 1024  # bytes (DynamoDB Developer Guide, "Constraints")
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)

_OPEN = "OPEN"


class Page(NamedTuple):
    """`cursor` is None on the last page. A short page may have a cursor."""

    callbacks: list[Callback]
    cursor: str | None


class Listings:
    """Lists by dial target, because one telephone may have several spellings.

    The dial target of an extension contains the deployment's `sip_domain`.
    """

    def __init__(self, store: CallbackStore, sip_domain: str) -> None:
        self._store = store
        self._sip_domain = sip_domain

    def page(
        self,
        tenant: str,
        *,
        matches: Callable[[Callback], bool],
        number: str | None,
        after: datetime | None,
        before: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> Page:
        """Newest first. Raises InvalidRequest for a cursor of no page of this list."""
        listed: list[Callback] = []
        examined = 0
        position = _position(cursor)
        first, last = to_text(after or _FIRST), to_text(before or _LAST)
        # DynamoDB rejects both cases as invalid queries.
        if first > last:
            return Page([], None)
        if position and not first <= position <= last:
            raise cursors.invalid_cursor()
        listing = self._listing(tenant, number)
        for positions, more in _pages(self._store.table, listing, (first, last), position):
            callbacks = self._store.find(map(listed_id, positions))
            for place, here in enumerate(positions, 1):
                examined += 1
                callback = callbacks.get(listed_id(here))
                if callback and matches(callback):
                    listed.append(callback)
                if len(listed) == limit or examined == _EXAMINED_AT_MOST:
                    is_last = not more and place == len(positions)
                    return Page(listed, None if is_last else cursors.encode_cursor(here))
        return Page(listed, None)

    def positions(self, tenant: str, address: str | None, until: datetime) -> Iterator[str]:
        """The positions in the tenant's list of all callbacks created at or before `until`.

        With an `address`, only callbacks in which it was a party or a caller ID. Expired callbacks
        are included while their rows exist.
        """
        # "$" follows "#", so the bound includes callbacks created exactly at `until`.
        bounds = to_text(_FIRST), f"{to_text(until)}$"
        for listing in self._listings(tenant, address):
            for positions, _ in _pages(self._store.table, listing, bounds):
                yield from positions

    def keys(self, callback: Callback) -> list[Key]:
        """The keys of all rows that list the callback."""
        numbers = (None, *(leg.to for leg in callback.legs))
        listings = [
            _OPEN,
            *(self._listing(callback.tenant, number) for number in numbers),
            *self._shown_listings(callback),
        ]
        return [(listing, _listed_as(callback)) for listing in listings]

    def keys_at(self, tenant: str, position: str, address: str | None) -> list[Key]:
        """The keys of rows that list a deleted callback, as far as its position and one address
        determine them."""
        listings = {_OPEN, self._listing(tenant), *self._listings(tenant, address)}
        return [(listing, position) for listing in sorted(listings)]

    def writes(self, callback: Callback) -> list[Write]:
        """The writes that list a new callback."""
        until = expiry(callback.expires_at)
        return [put_row(key_row(key) | until, ABSENT) for key in self.keys(callback)]

    def _listings(self, tenant: str, address: str | None) -> list[str]:
        """The tenant's listing; for an address two: as a party, and as a caller ID only."""
        listing = self._listing(tenant, address)
        return [listing, self._shown(tenant, address)] if address else [listing]

    def _listing(self, tenant: str, number: str | None = None) -> str:
        return f"TENANT#{tenant}" + (f"#NUMBER#{self._line(number)}" if number else "")

    def _shown(self, tenant: str, number: str) -> str:
        return f"TENANT#{tenant}#SHOWN#{self._line(number)}"

    def _shown_listings(self, callback: Callback) -> list[str]:
        called = {self._line(leg.to) for leg in callback.legs}
        only_shown = {
            leg.caller_id for leg in callback.legs if self._line(leg.caller_id) not in called
        }
        return sorted({self._shown(callback.tenant, number) for number in only_shown})

    def _line(self, address: str) -> str:
        return addresses.dial_target(address, self._sip_domain)


def read_open(store: CallbackStore) -> Iterator[Callback]:
    """Every callback that `reconcile` still watches: open ones, and recently ended ones."""
    for positions, _ in _pages(store.table, _OPEN, (to_text(_FIRST), to_text(_LAST))):
        yield from store.find(map(listed_id, positions)).values()


def forget_open(store: CallbackStore, callback: Callback) -> None:
    """Remove the callback from `read_open`."""
    store.table.delete((_OPEN, _listed_as(callback)))


def listed_id(position: str) -> str:
    """The id of the callback at a position in a list."""
    return position.rpartition("#")[2]


def _listed_as(callback: Callback) -> str:
    return f"{to_text(callback.created_at)}#{callback.callback_id}"


def _pages(
    table: Table, listing: str, bounds: tuple[str, str], position: str | None = None
) -> Iterator[tuple[list[str], bool]]:
    """Pages of positions, newest first, and whether more follow.

    `bounds` are the first and the last sort key. The pages start after `position`.
    """
    between = Expression(
        "pk = :listing AND sk BETWEEN :first AND :last",
        {":listing": listing, ":first": bounds[0], ":last": bounds[1]},
    )
    before = (listing, position) if position else None
    while True:
        rows, before = table.last(between, limit=_PAGE, before=before)
        yield [row["sk"] for row in rows], before is not None
        if before is None:
            return


def _position(cursor: str | None) -> str | None:
    """The position of a cursor. It only applies to the caller's own listing."""
    if cursor is None:
        return None
    position = cursors.decode_cursor(cursor)
    created_at, _, callback_id = position.partition("#")
    if not (created_at and callback_id) or len(position.encode()) > _LONGEST_SORT_KEY:
        raise cursors.invalid_cursor()
    return position
