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
from typing import TYPE_CHECKING, Any

from callback import clock, rows
from callback.errors import ErasureNotFound
from callback.models import to_text
from callback.rows import serialize

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

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
    def __init__(self, client: "DynamoDBClient", table_name: str) -> None:
        self._client = client
        self._table = table_name

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
        written: list[rows.Item] = [
            {**_key(erasure, "EVIDENCE"), **{k: serialize(v) for k, v in facts.items()}},
            _listed(f"ERASURES#{tenant}", erasure),
            _listed(_OPEN, erasure),
        ]
        if address:
            written.append({**_key(erasure, "ADDRESS"), "address": serialize(address)})
        self._write(*({"Put": {"TableName": self._table, "Item": row}} for row in written))
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
        row = rows.get(self._client, self._table, _key(erasure, "ADDRESS"))
        return str(row["address"]) if row else None

    def calls(self, erasure: Erasure) -> Iterator[RecordedCall]:
        """Those that the carrier still has a record of."""
        for row in rows.under(self._client, self._table, *_place(erasure.erasure_id, _CALL)):
            yield RecordedCall(
                row["sk"].removeprefix(_CALL),
                int(row["refused"]),
                datetime.fromisoformat(row["next_try_at"]),
            )

    def counting(self, erasure: Erasure, call_sids: list[str]) -> list[dict[str, Any]]:
        """What to write (TransactItems) with the deletion of a callback that had these calls."""
        calls = [RecordedCall(call_sid, 0, clock.now()) for call_sid in call_sids]
        return [*(self._put(erasure, call) for call in calls), self._count(erasure, "callbacks")]

    def ours_are_gone(self, erasure: Erasure) -> None:
        """Nothing of ours is left: from here on nobody knows the number."""
        self._write(
            {"Delete": {"TableName": self._table, "Key": _key(erasure, "ADDRESS")}},
            self._set(erasure, "erased_at"),
        )

    def call_is_gone(self, erasure: Erasure, call: RecordedCall) -> None:
        """The carrier has no record of it any more. Counts once."""
        gone = {
            "TableName": self._table,
            "Key": _key(erasure, f"{_CALL}{call.call_sid}"),
            "ConditionExpression": "attribute_exists(pk)",
        }
        try:
            self._write({"Delete": gone}, self._count(erasure, "calls"))
        except self._client.exceptions.TransactionCanceledException:
            if call in self.calls(erasure):
                raise

    def put_off(self, erasure: Erasure, call: RecordedCall) -> None:
        """The carrier would not delete it yet."""
        wait = min(_FIRST_WAIT * 2**call.refused, _LONGEST_WAIT)
        again = RecordedCall(call.call_sid, call.refused + 1, clock.now() + wait)
        self._write(self._put(erasure, again))

    def finish(self, erasure: Erasure) -> None:
        listed = {name: _listed(_OPEN, erasure)[name] for name in ("pk", "sk")}
        self._write(
            {"Delete": {"TableName": self._table, "Key": listed}},
            self._set(erasure, "finished_at"),
        )

    def _of(self, listing: str) -> Iterator[Erasure]:
        for row in rows.under(self._client, self._table, listing):
            erasure = self._get(row["sk"].rpartition("#")[2])
            if erasure:
                yield erasure

    def _get(self, erasure_id: str) -> Erasure | None:
        row = rows.get(self._client, self._table, rows.as_item(_place(erasure_id, "EVIDENCE")))
        return _erasure(row) if row else None

    def _put(self, erasure: Erasure, call: RecordedCall) -> dict[str, Any]:
        row = {
            **_key(erasure, f"{_CALL}{call.call_sid}"),
            "refused": serialize(call.refused),
            "next_try_at": serialize(to_text(call.next_try_at)),
        }
        return {"Put": {"TableName": self._table, "Item": row}}

    def _count(self, erasure: Erasure, what: str) -> dict[str, Any]:
        return self._update(erasure, f"ADD {what} :value", serialize(1))

    def _set(self, erasure: Erasure, moment: str) -> dict[str, Any]:
        now = serialize(to_text(clock.now()))
        return self._update(erasure, f"SET {moment} = if_not_exists({moment}, :value)", now)

    def _update(self, erasure: Erasure, change: str, value: Any) -> dict[str, Any]:
        update = {
            "TableName": self._table,
            "Key": _key(erasure, "EVIDENCE"),
            "UpdateExpression": change,
            "ExpressionAttributeValues": {":value": value},
        }
        return {"Update": update}

    def _write(self, *items: dict[str, Any]) -> None:
        writes: Any = list(items)
        self._client.transact_write_items(TransactItems=writes)


def _place(erasure_id: str, what: str) -> rows.Key:
    return f"ERASURE#{erasure_id}", what


def _key(erasure: Erasure, what: str) -> rows.Item:
    return rows.as_item(_place(erasure.erasure_id, what))


def _listed(listing: str, erasure: Erasure) -> dict[str, Any]:
    position = f"{to_text(erasure.requested_at)}#{erasure.erasure_id}"
    return rows.as_item((listing, position))


def _erasure(row: dict[str, Any]) -> Erasure:
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
