"""Erasure requests: what to erase, the progress, and the evidence that remains.

Rows, in the table of the callbacks:

* `ERASURE#<id>`, `EVIDENCE`: tenant, times, counts, and the hash of the number under the pepper.
  The hash answers whether a given number was erased, but reveals no number. This row is kept;
* `ERASURE#<id>`, `ADDRESS`: the number to search for, as long as rows with it may exist;
* `ERASURE#<id>`, `CALL#<sid>`: a call of which the carrier still has a record;
* `ERASURES#<tenant>` lists all erasures of a tenant, `ERASURES-OPEN` the unfinished ones.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from callback import clock
from callback.errors import ErasureNotFound
from callback.lifecycle.models import to_text
from callback.storage.table import (
    PRESENT,
    Expression,
    Key,
    Row,
    Table,
    TransactionCanceled,
    Write,
    delete_row,
    key_row,
    put_row,
    update_row,
)

_OPEN = "ERASURES-OPEN"
_CALL = "CALL#"

# The carrier may take up to 14 days until a record can be deleted (Twilio error 20009). The time
# between two attempts therefore doubles, from the first wait to the longest.
_FIRST_WAIT, _LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=6)


@dataclass(frozen=True)
class Erasure:
    """`number_hash` None: all callbacks of the tenant.

    `callbacks` counts those deleted here, `calls` the records deleted at the carrier.
    `erased_at`: nothing is left here. `finished_at`: nothing is left at the carrier.
    """

    erasure_id: str
    tenant: str
    number_hash: str | None
    requested_at: datetime
    callbacks: int = 0
    calls: int = 0
    erased_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True)
class CarrierRecord:
    """The carrier's record of a call. `refusals`: how often the carrier did not delete it."""

    call_sid: str
    refusals: int
    next_try_at: datetime


class ErasureStore:
    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, tenant: str, address: str | None, number_hash: str | None) -> Erasure:
        """A new erasure: of a number, as it was written when it was called, or of a tenant.

        `address` and `number_hash` None: all callbacks of the tenant.
        """
        erasure = Erasure(str(uuid.uuid4()), tenant, number_hash, clock.now())
        facts = {
            "erasure_id": erasure.erasure_id,
            "tenant": tenant,
            "requested_at": to_text(erasure.requested_at),
            "callbacks": 0,
            "calls": 0,
            **({"number_hash": number_hash} if number_hash else {}),
        }
        rows: list[Row] = [
            {**key_row(_key(erasure, "EVIDENCE")), **facts},
            key_row(_list_key(f"ERASURES#{tenant}", erasure)),
            key_row(_list_key(_OPEN, erasure)),
        ]
        if address:
            rows.append({**key_row(_key(erasure, "ADDRESS")), "address": address})
        self._table.transact_or_raise(*map(put_row, rows))
        return erasure

    def get(self, tenant: str, erasure_id: str) -> Erasure:
        """Raises ErasureNotFound, also for an erasure of another tenant."""
        erasure = self._get(erasure_id)
        if erasure is None or erasure.tenant != tenant:
            raise ErasureNotFound("No erasure has this id.")
        return erasure

    def list_erasures(self, tenant: str) -> list[Erasure]:
        """All erasures of the tenant, newest first."""
        return list(self._read_list(f"ERASURES#{tenant}"))[::-1]

    def open(self) -> Iterator[Erasure]:
        """The unfinished erasures of all tenants, oldest first."""
        return self._read_list(_OPEN)

    def address(self, erasure: Erasure) -> str | None:
        """The number to search for. None: all callbacks of the tenant."""
        row = self._table.get(_key(erasure, "ADDRESS"))
        return str(row["address"]) if row else None

    def carrier_records(self, erasure: Erasure) -> Iterator[CarrierRecord]:
        """The records that the carrier still has."""
        for row in self._table.under(*_place(erasure.erasure_id, _CALL)):
            yield CarrierRecord(
                row["sk"].removeprefix(_CALL),
                int(row["refused"]),
                datetime.fromisoformat(row["next_try_at"]),
            )

    def erased_callback(self, erasure: Erasure, call_sids: list[str]) -> list[Write]:
        """The writes that belong to the deletion of a callback with these calls: the carrier's
        records to delete, and the count."""
        records = [CarrierRecord(call_sid, 0, clock.now()) for call_sid in call_sids]
        return [*(_put_record(erasure, record) for record in records), _count(erasure, "callbacks")]

    def mark_erased(self, erasure: Erasure) -> None:
        """Record that nothing is left here, and forget the number."""
        self._table.transact_or_raise(
            delete_row(_key(erasure, "ADDRESS")), _set_time(erasure, "erased_at")
        )

    def mark_record_deleted(self, erasure: Erasure, record: CarrierRecord) -> None:
        """Record that the carrier has deleted the record. Counts once."""
        reasons = self._table.transact(
            delete_row(_key(erasure, f"{_CALL}{record.call_sid}"), PRESENT),
            _count(erasure, "calls"),
        )
        if reasons is not None and record in self.carrier_records(erasure):
            raise TransactionCanceled(reasons)

    def postpone_record(self, erasure: Erasure, record: CarrierRecord) -> None:
        """Schedule the next attempt: the carrier has not deleted the record yet."""
        wait = min(_FIRST_WAIT * 2**record.refusals, _LONGEST_WAIT)
        again = CarrierRecord(record.call_sid, record.refusals + 1, clock.now() + wait)
        self._table.transact_or_raise(_put_record(erasure, again))

    def finish(self, erasure: Erasure) -> None:
        """Record that nothing is left at the carrier either."""
        self._table.transact_or_raise(
            delete_row(_list_key(_OPEN, erasure)), _set_time(erasure, "finished_at")
        )

    def _read_list(self, listing: str) -> Iterator[Erasure]:
        for row in self._table.under(listing):
            erasure = self._get(row["sk"].rpartition("#")[2])
            if erasure:
                yield erasure

    def _get(self, erasure_id: str) -> Erasure | None:
        row = self._table.get(_place(erasure_id, "EVIDENCE"))
        return _erasure(row) if row else None


def _put_record(erasure: Erasure, record: CarrierRecord) -> Write:
    return put_row(
        {
            **key_row(_key(erasure, f"{_CALL}{record.call_sid}")),
            "refused": record.refusals,
            "next_try_at": to_text(record.next_try_at),
        }
    )


def _count(erasure: Erasure, what: str) -> Write:
    return update_row(_key(erasure, "EVIDENCE"), Expression(f"ADD {what} :value", {":value": 1}))


def _set_time(erasure: Erasure, moment: str) -> Write:
    change = Expression(
        f"SET {moment} = if_not_exists({moment}, :value)", {":value": to_text(clock.now())}
    )
    return update_row(_key(erasure, "EVIDENCE"), change)


def _place(erasure_id: str, what: str) -> Key:
    return f"ERASURE#{erasure_id}", what


def _key(erasure: Erasure, what: str) -> Key:
    return _place(erasure.erasure_id, what)


def _list_key(listing: str, erasure: Erasure) -> Key:
    return listing, f"{to_text(erasure.requested_at)}#{erasure.erasure_id}"


def _erasure(row: Row) -> Erasure:
    def moment(name: str) -> datetime | None:
        return datetime.fromisoformat(row[name]) if name in row else None

    return Erasure(
        erasure_id=row["erasure_id"],
        tenant=row["tenant"],
        number_hash=row.get("number_hash"),
        requested_at=datetime.fromisoformat(row["requested_at"]),
        callbacks=int(row["callbacks"]),
        calls=int(row["calls"]),
        erased_at=moment("erased_at"),
        finished_at=moment("finished_at"),
    )
