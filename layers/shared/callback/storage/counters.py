"""Counters that never exceed their limit: concurrent callbacks, calls per window, money per day.

Each counter is a row with a number, `used`. The transaction that stores a callback raises it, on
condition that the limit holds. A callback is therefore stored and counted, or neither, under any
concurrency and after any crash. The callback's reservation (one concurrent callback, and its
money) is released in the transaction that marks it as released.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from callback.amounts import Rate
from callback.errors import CallbackError
from callback.lifecycle.models import Callback, Leg, LegOutcome
from callback.storage.table import Expression, Key, Write, update_row

# The last callbacks of a day release their money long before this.
_SPEND_RETENTION = timedelta(days=7)


class Condition(NamedTuple):
    """A write of the transaction that stores a callback, and the refusal if that write fails."""

    write: Write
    refusal: CallbackError


@dataclass(frozen=True)
class Counter:
    """`amount` is one callback's share of `limit`. The row expires at `until`."""

    key: Key
    amount: int
    limit: int
    refusal: CallbackError
    until: datetime | None = None

    def refuses(self, used: int) -> bool:
        return used + self.amount > self.limit

    def condition(self) -> Condition:
        """The write that counts. `amount` must not exceed `limit`."""
        change = _add(self.amount)
        if self.until:
            change = Expression(
                f"{change.text} SET #ttl = :ttl",
                {**change.values, ":ttl": int(self.until.timestamp())},
                {"#ttl": "ttl"},
            )
        within = Expression(
            "attribute_not_exists(used) OR used <= :room", {":room": self.limit - self.amount}
        )
        return Condition(update_row(self.key, change, within), self.refusal)


_Each = TypeVar("_Each", bound=Counter)


def merge_counters(counters: Iterable[_Each]) -> list[_Each]:
    """One counter per row: a transaction may write a row only once."""
    by_row: dict[Key, _Each] = {}
    for counter in counters:
        before = by_row.get(counter.key)
        amount = counter.amount + (before.amount if before else 0)
        by_row[counter.key] = replace(counter, amount=amount)
    return list(by_row.values())


def at_once(tenant: str) -> Key:
    return f"LIMIT#{tenant}", "AT-ONCE"


def spend(tenant: str, currency: str, day: str) -> Key:
    return f"LIMIT#{tenant}", f"SPEND#{currency}#{day}"


def spend_expires_at(day: str) -> datetime:
    """The expiry of the row that counts the money of a day."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC) + _SPEND_RETENTION


def window(rate: Rate, now: datetime) -> tuple[int, datetime]:
    """The current window of a rate: (its start in seconds since 1970, its end)."""
    began = int(now.timestamp()) // rate.seconds * rate.seconds
    return began, datetime.fromtimestamp(began + rate.seconds, UTC)


def calls(tenant: str, subject: str, rate: Rate, now: datetime) -> Key:
    """`subject` names what is counted. It must not identify a person."""
    began, _ = window(rate, now)
    return f"LIMIT#{tenant}#{subject}", f"CALLS#{rate.seconds}#{began}"


def cost(seconds: int, per_minute: int) -> int:
    """Carriers bill every started minute."""
    return -(-seconds // 60) * per_minute


def release_writes(callback: Callback) -> list[Write]:
    """The writes that release the unused part of an ended callback's reservation."""
    reservation = callback.reservation
    if reservation is None:
        return []
    prices = reservation.per_minute_a, reservation.per_minute_b
    used = sum(
        cost(_billed_seconds(leg), price) for leg, price in zip(callback.legs, prices, strict=True)
    )
    day = spend(callback.tenant, reservation.currency, reservation.day)
    return [
        update_row(at_once(callback.tenant), _add(-1)),
        update_row(day, _add(used - reservation.micros)),
    ]


def _add(amount: int) -> Expression:
    return Expression("ADD used :amount", {":amount": amount})


def _billed_seconds(leg: Leg) -> int:
    """The carrier's count; without one, the seconds between its events.

    A call without any report may have been answered. It was then hung up at once.
    """
    if leg.outcome is LegOutcome.DIAL_OUTCOME_UNKNOWN:
        return max(1, leg.seconds or 0)
    if leg.answered_at is None or leg.ended_at is None:
        return leg.seconds or 0
    if leg.seconds is None:
        return max(1, int((leg.ended_at - leg.answered_at).total_seconds()))
    return max(1, leg.seconds)
