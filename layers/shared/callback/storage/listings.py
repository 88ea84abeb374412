"""Rows that list callbacks: written with the callback, never changed, with no facts but the key.

One lies under the tenant, one under each party's number, and one under each number that was only
shown, so that whoever must be forgotten can be found. A list costs one query and a batch of reads,
and shows at once what was just accepted. One more, under OPEN, stays until `reconcile` needs it no
more.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from callback.lifecycle.models import Callback, to_text
from callback.numbering import addresses
from callback.storage import cursors
from callback.storage.callbacks import CallbackStore
from callback.storage.table import ABSENT, Expression, Key, Table, Write, expiry, key_row, put_row

_PAGE = 100  # keys per query and per batch of reads: BatchGetItem takes 100
_EXAMINED_AT_MOST = 500  # rows one list request may look at before it answers with a cursor
_LONGEST_SORT_KEY = 1024  # bytes (DynamoDB Developer Guide, "Constraints")
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)

_OPEN = "OPEN"


@dataclass(frozen=True)
class Page:
    """`cursor` None: nothing is left. A page may be short and still have a cursor."""

    callbacks: list[Callback]
    cursor: str | None


class Listings:
    """A number is known by what is dialed, because one telephone may be spelled in several ways:
    so it takes the deployment's `sip_domain`."""

    def __init__(self, store: CallbackStore, sip_domain: str) -> None:
        self._store = store
        self._sip_domain = sip_domain

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
        listing = self._listing(tenant, number)
        for positions, more in _pages(self._store.table, listing, (first, last), position):
            callbacks = self._store.find(map(listed_id, positions))
            for place, here in enumerate(positions, 1):
                examined += 1
                callback = callbacks.get(listed_id(here))
                if callback and wanted(callback):
                    found.append(callback)
                if len(found) == limit or examined == _EXAMINED_AT_MOST:
                    return Page(found, cursors.of(here) if more or place < len(positions) else None)
        return Page(found, None)

    def positions(self, tenant: str, address: str | None, until: datetime) -> Iterator[str]:
        """Where each callback that was created by then stands in the tenant's list: all of them,
        or those in which the address was called or shown. Expired ones too, as long as they last.
        """
        # The character after "#": with it, whatever was created in that very moment.
        bounds = to_text(_FIRST), f"{to_text(until)}$"
        for listing in self._listings(tenant, address):
            for positions, _ in _pages(self._store.table, listing, bounds):
                yield from positions

    def keys(self, callback: Callback) -> list[Key]:
        """Of every row that lists it."""
        numbers = (None, *(leg.to for leg in callback.legs))
        listings = [
            _OPEN,
            *(self._listing(callback.tenant, number) for number in numbers),
            *self._shown_listings(callback),
        ]
        return [(listing, _listed_as(callback)) for listing in listings]

    def keys_at(self, tenant: str, position: str, address: str | None) -> list[Key]:
        """Of the rows by which a callback that is gone may still be found: as far as they are
        known from its position and one address."""
        listings = {_OPEN, self._listing(tenant), *self._listings(tenant, address)}
        return [(listing, position) for listing in sorted(listings)]

    def writes(self, callback: Callback) -> list[Write]:
        """To list a new callback."""
        until = expiry(callback.expires_at)
        return [put_row(key_row(key) | until, ABSENT) for key in self.keys(callback)]

    def _listings(self, tenant: str, address: str | None) -> list[str]:
        """The tenant's one; or of an address two, where it was called and where it was shown."""
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
    """Every callback that has not ended, or not long enough ago for `reconcile`."""
    for positions, _ in _pages(store.table, _OPEN, (to_text(_FIRST), to_text(_LAST))):
        yield from store.find(map(listed_id, positions)).values()


def forget_open(store: CallbackStore, callback: Callback) -> None:
    """`read_open` gives it no more."""
    store.table.delete((_OPEN, _listed_as(callback)))


def listed_id(position: str) -> str:
    """The id of the callback that stands there in a list."""
    return position.rpartition("#")[2]


def _listed_as(callback: Callback) -> str:
    return f"{to_text(callback.created_at)}#{callback.callback_id}"


def _pages(
    table: Table, listing: str, bounds: tuple[str, str], position: str | None = None
) -> Iterator[tuple[list[str], bool]]:
    """Pages of positions, newest first, and whether more follow. `bounds`: the first and the last
    sort key; `position`: the one before which to begin."""
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
    """A cursor is a place within the caller's own listing, so it cannot lead elsewhere."""
    if cursor is None:
        return None
    position = cursors.position_in(cursor)
    created_at, _, callback_id = position.partition("#")
    if not (created_at and callback_id) or len(position.encode()) > _LONGEST_SORT_KEY:
        raise cursors.invalid()
    return position
