"""Idempotency keys (see `idempotency`). Each key has two rows.

One row holds the key's request and response. The other lies in the callback's partition and names
the key, so that an erasure of the callback finds it.
"""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from callback.lifecycle.models import Callback, to_text
from callback.storage import callbacks
from callback.storage.table import ABSENT, Expression, Row, Table, Write, expiry, key_row, put_row
from callback.storage.table import Key as RowKey

_PREFIX = "KEY#"

LIFETIME = timedelta(hours=24)

# A response of the API. Only the API reads it (see `idempotency.Responses`).
Response = dict[str, Any]


class Key(NamedTuple):
    """`fingerprint` identifies the request: SHA-256 of its validated and sorted form."""

    text: str
    fingerprint: str


class Used(NamedTuple):
    """A stored key. `response` is None while the first request is in progress."""

    fingerprint: str
    callback_id: str
    stored_at: datetime
    response: Response | None


class KeyUsed(Exception):
    """The key is stored already, by the same request or by another one."""

    def __init__(self, used: Used) -> None:
        super().__init__(used.callback_id)
        self.used = used


class IdempotencyStore:
    def __init__(self, table: Table) -> None:
        self._table = table

    def refuse_used(self, callback: Callback, key: Key) -> None:
        """Raises KeyUsed for a stored key that has not expired."""
        row = self._table.get(_key(callback.tenant, key.text))
        if row and datetime.fromisoformat(row["stored_at"]) > callback.created_at - LIFETIME:
            raise KeyUsed(
                Used(
                    fingerprint=row["fingerprint"],
                    callback_id=row["callback_id"],
                    stored_at=datetime.fromisoformat(row["stored_at"]),
                    response=json.loads(row["answer"]) if "answer" in row else None,
                )
            )

    def remember_response(self, tenant: str, key: Key, response: Response) -> None:
        """Store the response to the first request with this key, for every repetition.

        Nothing is stored if the callback was erased in between: the response names the parties.
        """
        self._table.update(
            _key(tenant, key.text),
            Expression("SET answer = :answer", {":answer": json.dumps(response)}),
            Expression("fingerprint = :fingerprint", {":fingerprint": key.fingerprint}),
        )


def writes(callback: Callback, key: Key) -> list[Write]:
    """The writes that store the key with its new callback."""
    row = {
        **key_row(_key(callback.tenant, key.text)),
        "fingerprint": key.fingerprint,
        "callback_id": callback.callback_id,
        "stored_at": to_text(callback.created_at),
        **expiry(callback.created_at + LIFETIME),
    }
    beside = callbacks.partition(callback.callback_id), f"{_PREFIX}{key.text}"
    return [
        put_row(row, _unless_fresh(callback.created_at)),
        put_row(key_row(beside) | expiry(callback.expires_at), ABSENT),
    ]


def find_keys(tenant: str, rows: Iterable[Row]) -> list[RowKey]:
    """The row keys of the idempotency keys that `rows` of a callback's partition name."""
    sort_keys = (row["sk"] for row in rows)
    return [_key(tenant, sk.removeprefix(_PREFIX)) for sk in sort_keys if sk.startswith(_PREFIX)]


def _key(tenant: str, text: str) -> RowKey:
    return f"IDEMPOTENCY#{tenant}#{text}", "KEY"


def _unless_fresh(now: datetime) -> Expression:
    """A key older than 24 hours is overwritten, even if DynamoDB has not deleted it yet."""
    return Expression(
        "attribute_not_exists(pk) OR stored_at <= :too_old", {":too_old": to_text(now - LIFETIME)}
    )
