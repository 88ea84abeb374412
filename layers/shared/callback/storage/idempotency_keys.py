"""Idempotency keys (see `idempotency`): a row for each, and one beside the callback that names it,
by which the key is found when the callback is erased.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from callback.lifecycle.models import Callback, to_text
from callback.storage import callbacks
from callback.storage.table import ABSENT, Expression, Row, Table, Write, expiry, key_row, put_row
from callback.storage.table import Key as RowKey

_NAMED = "KEY#"

LIFETIME = timedelta(hours=24)

# A response of the API, which alone reads it (see `idempotency.Responses`).
Answer = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """`fingerprint` tells whether a request is the same: SHA-256 of it, validated and sorted."""

    text: str
    fingerprint: str


@dataclass(frozen=True)
class Used:
    """What is stored of a key; `answer` None while the first request is being answered."""

    fingerprint: str
    callback_id: str
    stored_at: datetime
    answer: Answer | None


class KeyUsed(Exception):
    """The key is stored already: a repetition, or another request with the same key."""

    def __init__(self, used: Used) -> None:
        super().__init__(used.callback_id)
        self.used = used


class IdempotencyStore:
    def __init__(self, table: Table) -> None:
        self._table = table

    def refuse_used(self, callback: Callback, key: Key) -> None:
        """Raises KeyUsed for a key that is stored already and not too old."""
        row = self._table.get(_key(callback.tenant, key.text))
        if row and datetime.fromisoformat(row["stored_at"]) > callback.created_at - LIFETIME:
            raise KeyUsed(
                Used(
                    fingerprint=row["fingerprint"],
                    callback_id=row["callback_id"],
                    stored_at=datetime.fromisoformat(row["stored_at"]),
                    answer=json.loads(row["answer"]) if "answer" in row else None,
                )
            )

    def remember_answer(self, tenant: str, key: Key, answer: Answer) -> None:
        """What the first request with this key was answered, for every repetition.

        Not where the callback was erased meanwhile: its answer names the parties.
        """
        self._table.update(
            _key(tenant, key.text),
            Expression("SET answer = :answer", {":answer": json.dumps(answer)}),
            Expression("fingerprint = :fingerprint", {":fingerprint": key.fingerprint}),
        )


def writes(callback: Callback, key: Key) -> list[Write]:
    """To store the key with its new callback."""
    row = {
        **key_row(_key(callback.tenant, key.text)),
        "fingerprint": key.fingerprint,
        "callback_id": callback.callback_id,
        "stored_at": to_text(callback.created_at),
        **expiry(callback.created_at + LIFETIME),
    }
    beside = callbacks.partition(callback.callback_id), f"{_NAMED}{key.text}"
    return [
        put_row(row, _unless_fresh(callback.created_at)),
        put_row(key_row(beside) | expiry(callback.expires_at), ABSENT),
    ]


def named(tenant: str, rows: Iterable[Row]) -> list[RowKey]:
    """The keys' rows that are named by those beside a callback."""
    places = (row["sk"] for row in rows)
    return [_key(tenant, sk.removeprefix(_NAMED)) for sk in places if sk.startswith(_NAMED)]


def _key(tenant: str, text: str) -> RowKey:
    return f"IDEMPOTENCY#{tenant}#{text}", "KEY"


def _unless_fresh(now: datetime) -> Expression:
    """A key that has outlived its 24 hours is as good as none, whether it is gone or not."""
    return Expression(
        "attribute_not_exists(pk) OR stored_at <= :too_old", {":too_old": to_text(now - LIFETIME)}
    )
