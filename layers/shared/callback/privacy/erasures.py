"""What is to be forgotten, how far that has come, and the evidence that is left.

Rows, in the table of the callbacks:

* `ERASURE#<id>`, `EVIDENCE`: whose, when, how many; and for whom, as the hash of the number under
  the pepper: it tells whether a number that you have was erased, and nobody's number. It is kept;
* `ERASURE#<id>`, `ADDRESS`: the number that is looked for, as long as there may be rows with it;
* `ERASURE#<id>`, `CALL#<sid>`: a call of which the carrier still has a record;
* `ERASURES#<tenant>` lists the evidence, `ERASURES-OPEN` what is not done.
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

# The carrier may take up to 14 days before a record can be deleted (Twilio error 20009), so it is
# asked less and less often.
_FIRST_WAIT, _LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=6)


@dataclass(frozen=True)
class Erasure:
    """`number_hash` None: everything of the tenant's. `callbacks` and `calls` count what is gone
    already, here and at the carrier; all of ours is gone at `erased_at`."""

    erasure_id: str
    tenant: str
    number_hash: str | None
    requested_at: datetime
    callbacks: int = 0
    calls: int = 0
    erased_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True)
class RecordedCall:
    """A call that the carrier has a record of, and how often it would not delete it."""

    call_sid: str
    refused: int
    next_try_at: datetime


class ErasureStore:
    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, tenant: str, address: str | None, number_hash: str | None) -> Erasure:
        """A new one: of a number, as it was given when it was called, or of the whole tenant."""
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
            key_row(_listed(f"ERASURES#{tenant}", erasure)),
            key_row(_listed(_OPEN, erasure)),
        ]
        if address:
            rows.append({**key_row(_key(erasure, "ADDRESS")), "address": address})
        self._table.transact_or_raise(*map(put_row, rows))
        return erasure

    def get(self, tenant: str, erasure_id: str) -> Erasure:
        """Raises ErasureNotFound, also for another tenant's."""
        erasure = self._get(erasure_id)
        if erasure is None or erasure.tenant != tenant:
            raise ErasureNotFound("No erasure has this id.")
        return erasure

    def of(self, tenant: str) -> list[Erasure]:
        """Every one that the tenant ever asked for, newest first."""
        return list(self._of(f"ERASURES#{tenant}"))[::-1]

    def open(self) -> Iterator[Erasure]:
        """Those that are not done, oldest first."""
        return self._of(_OPEN)

    def address(self, erasure: Erasure) -> str | None:
        """What to look for. None: everything of the tenant's."""
        row = self._table.get(_key(erasure, "ADDRESS"))
        return str(row["address"]) if row else None

    def calls(self, erasure: Erasure) -> Iterator[RecordedCall]:
        """Those that the carrier still has a record of."""
        for row in self._table.under(*_place(erasure.erasure_id, _CALL)):
            yield RecordedCall(
                row["sk"].removeprefix(_CALL),
                int(row["refused"]),
                datetime.fromisoformat(row["next_try_at"]),
            )

    def counting(self, erasure: Erasure, call_sids: list[str]) -> list[Write]:
        """What to write with the deletion of a callback that had these calls."""
        calls = [RecordedCall(call_sid, 0, clock.now()) for call_sid in call_sids]
        return [*(_put_call(erasure, call) for call in calls), _count(erasure, "callbacks")]

    def ours_are_gone(self, erasure: Erasure) -> None:
        """Nothing of ours is left: from here on nobody knows the number."""
        self._table.transact_or_raise(
            delete_row(_key(erasure, "ADDRESS")), _set_time(erasure, "erased_at")
        )

    def call_is_gone(self, erasure: Erasure, call: RecordedCall) -> None:
        """The carrier has no record of it any more. Counts once."""
        reasons = self._table.transact(
            delete_row(_key(erasure, f"{_CALL}{call.call_sid}"), PRESENT),
            _count(erasure, "calls"),
        )
        if reasons is not None and call in self.calls(erasure):
            raise TransactionCanceled(reasons)

    def put_off(self, erasure: Erasure, call: RecordedCall) -> None:
        """The carrier would not delete it yet."""
        wait = min(_FIRST_WAIT * 2**call.refused, _LONGEST_WAIT)
        again = RecordedCall(call.call_sid, call.refused + 1, clock.now() + wait)
        self._table.transact_or_raise(_put_call(erasure, again))

    def finish(self, erasure: Erasure) -> None:
        self._table.transact_or_raise(
            delete_row(_listed(_OPEN, erasure)), _set_time(erasure, "finished_at")
        )

    def _of(self, listing: str) -> Iterator[Erasure]:
        for row in self._table.under(listing):
            erasure = self._get(row["sk"].rpartition("#")[2])
            if erasure:
                yield erasure

    def _get(self, erasure_id: str) -> Erasure | None:
        row = self._table.get(_place(erasure_id, "EVIDENCE"))
        return _erasure(row) if row else None


def _put_call(erasure: Erasure, call: RecordedCall) -> Write:
    return put_row(
        {
            **key_row(_key(erasure, f"{_CALL}{call.call_sid}")),
            "refused": call.refused,
            "next_try_at": to_text(call.next_try_at),
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


def _listed(listing: str, erasure: Erasure) -> Key:
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
