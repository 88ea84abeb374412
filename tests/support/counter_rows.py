"""The rows of counters, as DynamoDB's transactions change them."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from callback.storage.table import CONDITION_FAILED, Key, Row, Write, to_row


class Rows:
    """A transaction holds its rows for so many seconds. One that meets it there is canceled."""

    def __init__(self, *, held_for: float = 0) -> None:
        self.now = 0.0  # seconds
        self.transactions = 0
        self.total: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._held_for = held_for
        self._held_until: dict[Key, float] = {}
        self._used: dict[Key, int] = {}

    def read(self, keys: Iterable[Key]) -> dict[Key, Row]:
        return {key: {"used": self._used[key]} for key in keys if key in self._used}

    def transact(self, writes: list[Write]) -> list[str] | None:
        """The reasons as DynamoDB gives them. None: everything is written."""
        self.transactions += 1
        rows = [_amount_and_room(write["Update"]) for write in writes]
        if any(self._held_until.get(key, 0) > self.now for key, _, _ in rows):
            return ["TransactionConflict" for _ in rows]
        if any(room is not None and self._used.get(key, 0) > room for key, _, room in rows):
            return [CONDITION_FAILED for _ in rows]
        for (pk, sk), amount, _ in rows:
            self._used[pk, sk] = self._used.get((pk, sk), 0) + amount
            self._held_until[pk, sk] = self.now + self._held_for
            self.total[sk] += amount
            self.most[sk] = max(self.most[sk], self.total[sk])
        return None


def _amount_and_room(update: dict[str, Any]) -> tuple[Key, int, int | None]:
    key, values = to_row(update["Key"]), to_row(update["ExpressionAttributeValues"])
    room = values.get(":room")
    return (key["pk"], key["sk"]), int(values[":amount"]), None if room is None else int(room)
