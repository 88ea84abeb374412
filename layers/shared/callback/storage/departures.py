"""Departure times: when each create request may be sent to the carrier.

The carrier dials a number of calls a second and queues the rest, for hours if need be. We wait
instead, where we can still cancel. One row for the carrier's account gives out the departures of
all functions, each by one plain update: two departures are never closer than `gap_us`.

Times are whole microseconds since 1970. `next_us` is the earliest departure that is free.
`set_gap_us` belongs to the rate that an operator set, `gap_us` to the rate in effect, which is
lower for a while after the carrier queued calls (`lower`). Without them, the deployment's rate
applies.

Until `queue_us`, first legs are promised to callbacks that wait already. A new callback does not
depart before them. It is an estimate: each waiting callback is given two departures, one for each
leg.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from callback.errors import StoreContended
from callback.storage.table import Expression, Key, Row, Table

KEY: Key = ("CARRIER#default", "DEPARTURES")

# A sender may be this late. The gap is longer than a rate's period by as much, so that no sliding
# second has more departures than the rate: (1 s + LATENESS) / gap <= rate.
LATENESS = timedelta(milliseconds=20)
_SECOND = 1_000_000  # microseconds

# How far ahead a first leg may depart. SQS delays a message by whole seconds.
SOON = timedelta(seconds=1)

_ATTEMPTS = 20

# Departures of a callback: one for each leg.
_LEGS = 2

# A rate is lowered to four fifths, at most once in so long, and to a tenth at least.
_LOWERED_EVERY = timedelta(seconds=10)
_LOWEST = 10
# It is raised by a tenth with each minute's plan, once it was not lowered for so long.
_RAISED_AFTER = timedelta(minutes=5)


class Departure(NamedTuple):
    """A booked departure of so many create requests, each a gap after the one before it."""

    at_us: int
    requests: int
    gap_us: int

    @property
    def at(self) -> datetime:
        return to_time(self.at_us)

    @property
    def next_us(self) -> int:
        """The earliest departure that is free if nobody has booked since."""
        return self.at_us + self.requests * self.gap_us

    def after_first(self) -> "Departure":
        """Without its first request."""
        return Departure(self.at_us + self.gap_us, self.requests - 1, self.gap_us)


class Rate(NamedTuple):
    """Calls per second: as set, and in effect."""

    set: float
    effective: float


class Departures:
    """`calls_per_second` is the deployment's rate, as a number or as text."""

    def __init__(self, table: Table, calls_per_second: str | float) -> None:
        self._table = table
        self._default_us = gap(float(calls_per_second))
        # The row as this process last saw it: a guess that the write's condition checks.
        self._row: Row = {}

    def book(self, now: datetime, count: int = 1) -> Departure:
        """The next `count` departures, however far ahead. Raises StoreContended."""
        departure, _ = self._move(now, count, None)
        if departure is None:
            raise StoreContended("Too many concurrent departures. Nothing was done.")
        return departure

    def take(
        self, now: datetime, count: int = 1, *, is_new: bool = False
    ) -> tuple[Departure | None, datetime]:
        """The next `count` departures if they are SOON, else None; and the next free departure.

        `is_new`: for a callback that does not wait yet. Others may have been promised the next
        ones.
        """
        return self._move(now, count, SOON, is_new=is_new)

    def promise(self, now: datetime) -> datetime:
        """Promise a first leg to one more callback. Returns when it may expect to depart."""
        row, now_us = self._row, to_us(now)
        for _ in range(_ATTEMPTS):
            expected_us = max(now_us, int(row.get("next_us", 0)), int(row.get("queue_us", 0)))
            after = expected_us + _LEGS * self._gap(row)
            is_done, row = self._table.update_or_read(
                KEY, Expression("SET queue_us = :after", {":after": after}), _queue_is(row)
            )
            self._row = row
            if is_done:
                return to_time(expected_us)
        return to_time(expected_us)

    def correct_promises(self, now: datetime, waiting: int) -> None:
        """So many callbacks wait for a departure: nothing is promised for longer than they need."""
        row = self._table.get(KEY) or {}
        before = int(row.get("queue_us", 0))
        start = to_us(now)
        if waiting:
            start = max(start, int(row.get("next_us", 0)))
        after = start + waiting * _LEGS * self._gap(row)
        if after < before:
            change = Expression("SET queue_us = :after", {":after": after})
            self._table.update(KEY, change, _queue_is(row))

    def rate(self) -> float:
        """Calls per second, in effect."""
        return to_rate(self._gap(self._table.get(KEY) or {}))

    def postpone(self, departure: Departure, now: datetime) -> Departure | None:
        """The departure moved to `now`. None: others have booked after it, so book another."""
        later = departure._replace(at_us=to_us(now))
        return later if self._rewrite(departure, later.next_us) else None

    def give_back(self, departure: Departure) -> None:
        """Free the departure, unless others have booked after it."""
        self._rewrite(departure, departure.at_us)

    # -- the rate ----------------------------------------------------------------------------------

    def operators_rate(self) -> Rate | None:
        """None: no operator has set a rate."""
        row = self._table.get(KEY) or {}
        if "set_gap_us" not in row:
            return None
        return Rate(to_rate(self._set_gap(row)), to_rate(self._gap(row)))

    def set_rate(self, calls_per_second: float) -> None:
        value = {":gap": gap(calls_per_second)}
        change = Expression("SET set_gap_us = :gap, gap_us = :gap REMOVE lowered_us", value)
        self._table.update(KEY, change)

    def lower(self, now: datetime) -> Rate | None:
        """Lower the effective rate, because the carrier queued a call. None: it is low enough, or
        has just been lowered."""
        row = self._table.get(KEY) or {}
        before, lowest = self._gap(row), self._set_gap(row) * _LOWEST
        after = min(before * 5 // 4, lowest)
        recently = to_us(now - _LOWERED_EVERY)
        if after <= before or int(row.get("lowered_us", 0)) > recently:
            return None
        change = Expression(
            "SET gap_us = :after, lowered_us = :now", {":after": after, ":now": to_us(now)}
        )
        return self._change_gap(row, change, after)

    def restore(self, now: datetime) -> Rate | None:
        """Raise a lowered rate again by a tenth. None: there is nothing to raise, or not yet."""
        row = self._table.get(KEY) or {}
        before, least = self._gap(row), self._set_gap(row)
        if before <= least or int(row.get("lowered_us", 0)) > to_us(now - _RAISED_AFTER):
            return None
        after = max(before * 10 // 11, least)
        return self._change_gap(row, Expression("SET gap_us = :after", {":after": after}), after)

    def _change_gap(self, row: Row, change: Expression, after: int) -> Rate | None:
        if not self._table.update(KEY, change, self._gap_is(row)):
            return None  # another process was first
        return Rate(to_rate(self._set_gap(row)), to_rate(after))

    # -- the row -----------------------------------------------------------------------------------

    def _move(
        self, now: datetime, count: int, most_ahead: timedelta | None, *, is_new: bool = False
    ) -> tuple[Departure | None, datetime]:
        now_us = to_us(now)
        limit = now_us + int(most_ahead / timedelta(microseconds=1)) if most_ahead else None
        allowed = _allowed(limit, is_new=is_new)
        row, is_fresh = self._row, False
        for _ in range(_ATTEMPTS):
            next_us, gap_us = int(row.get("next_us", 0)), self._gap(row)
            promised_us = int(row.get("queue_us", 0)) if is_new else 0
            is_ahead = limit is not None and next_us > limit
            if (is_ahead or promised_us > now_us) and is_fresh:
                return None, to_time(max(next_us, promised_us))
            is_done, row = self._advance(row, now_us, count * gap_us, allowed)
            self._row, is_fresh = row, True
            if is_done:
                departure = Departure(int(row["next_us"]) - count * gap_us, count, gap_us)
                return departure, to_time(departure.next_us)
        return None, to_time(int(row.get("next_us", 0)))

    def _advance(
        self, seen: Row, now_us: int, advance: int, allowed: Expression
    ) -> tuple[bool, Row]:
        """Move `next_us`, if that is `allowed`. Returns whether it was done, and the row
        afterwards."""
        same_gap = self._gap_is(seen)
        if int(seen.get("next_us", 0)) > now_us:
            change = Expression("SET next_us = next_us + :advance", {":advance": advance})
            where, values = "next_us > :now", {":now": now_us}
        else:
            change = Expression("SET next_us = :after", {":after": now_us + advance})
            where = "(attribute_not_exists(next_us) OR next_us <= :now)"
            values = {":now": now_us}
        condition = Expression(
            f"{where} AND {same_gap.text}{allowed.text}",
            {**values, **same_gap.values, **allowed.values},
        )
        return self._table.update_or_read(KEY, change, condition)

    def _rewrite(self, departure: Departure, next_us: int) -> bool:
        change = Expression("SET next_us = :after", {":after": next_us})
        return self._table.update(
            KEY, change, Expression("next_us = :before", {":before": departure.next_us})
        )

    def _gap_is(self, row: Row) -> Expression:
        """The condition that the gap is the one of this row."""
        if "gap_us" in row:
            return Expression("gap_us = :gap", {":gap": row["gap_us"]})
        return Expression("attribute_not_exists(gap_us)")

    def _gap(self, row: Row) -> int:
        return int(row.get("gap_us", self._set_gap(row)))

    def _set_gap(self, row: Row) -> int:
        return int(row.get("set_gap_us", self._default_us))


def _allowed(limit: int | None, *, is_new: bool) -> Expression:
    """Further conditions of a departure: at `limit` (microseconds) at the latest, and nothing
    promised to others if it is for a new callback. Uses `:now` of the other conditions."""
    text, values = "", {}
    if limit is not None:
        text = " AND (attribute_not_exists(next_us) OR next_us <= :limit)"
        values = {":limit": limit}
    if is_new:
        text += " AND (attribute_not_exists(queue_us) OR queue_us <= :now)"
    return Expression(text, values)


def _queue_is(row: Row) -> Expression:
    """The condition that nothing was promised since the row was read."""
    if "queue_us" in row:
        return Expression("queue_us = :queue", {":queue": row["queue_us"]})
    return Expression("attribute_not_exists(queue_us)")


def gap(calls_per_second: float) -> int:
    """Microseconds between two departures at this rate."""
    lateness = int(LATENESS / timedelta(microseconds=1))
    return -int(-(_SECOND + lateness) // calls_per_second)


def to_rate(gap_us: int) -> float:
    return round((_SECOND + int(LATENESS / timedelta(microseconds=1))) / gap_us, 2)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def to_time(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
