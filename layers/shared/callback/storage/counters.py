"""Counters that never pass their limit: callbacks at once, calls in a while, money of a day.

Each is a row of its own with a number in it, `used`. It is raised in the transaction that stores
a callback, on condition that the limit holds: a callback is stored and counted, or neither, however
many come at once and whenever a process dies. What it holds while it lasts (a place among those at
once, and its money) is given back in the transaction that marks it as given back.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from callback.amounts import Rate
from callback.errors import CallbackError
from callback.lifecycle.models import Callback, Leg, LegOutcome
from callback.storage.table import Expression, Key, Write, update_row

# A day's money is given back when its last callbacks have ended, long before this.
_KEPT = timedelta(days=7)


@dataclass(frozen=True)
class Condition:
    """A write of the transaction that stores a callback, and the refusal if it is what the
    transaction fails for."""

    write: Write
    refusal: CallbackError


@dataclass(frozen=True)
class Counter:
    """`amount` is what one callback takes of `limit`; `until`: when the row is forgotten."""

    key: Key
    amount: int
    limit: int
    refusal: CallbackError
    until: datetime | None = None

    def refuses(self, used: int) -> bool:
        return used + self.amount > self.limit

    def condition(self) -> Condition:
        """For a counter that does not refuse even at nothing used."""
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


def merged(counters: Iterable[_Each]) -> list[_Each]:
    """One for each row: a transaction may write a row only once."""
    found: dict[Key, _Each] = {}
    for counter in counters:
        before = found.get(counter.key)
        amount = counter.amount + (before.amount if before else 0)
        found[counter.key] = replace(counter, amount=amount)
    return list(found.values())


def at_once(tenant: str) -> Key:
    return f"LIMIT#{tenant}", "AT-ONCE"


def spend(tenant: str, currency: str, day: str) -> Key:
    return f"LIMIT#{tenant}", f"SPEND#{currency}#{day}"


def kept_until(day: str) -> datetime:
    """When the money of a day is forgotten."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC) + _KEPT


def window(rate: Rate, now: datetime) -> tuple[int, datetime]:
    """Of a rate: (where in time its window began, in seconds since 1970; when it ends)."""
    began = int(now.timestamp()) // rate.seconds * rate.seconds
    return began, datetime.fromtimestamp(began + rate.seconds, UTC)


def calls(tenant: str, whose: str, rate: Rate, now: datetime) -> Key:
    """`whose`: what is counted. It must not name anybody."""
    began, _ = window(rate, now)
    return f"LIMIT#{tenant}#{whose}", f"CALLS#{rate.seconds}#{began}"


def cost(seconds: int, per_minute: int) -> int:
    """Carriers bill every minute that was begun."""
    return -(-seconds // 60) * per_minute


def given_back(callback: Callback) -> list[Write]:
    """The writes that give back what an ended callback held and did not use."""
    held = callback.reservation
    if held is None:
        return []
    used = sum(
        cost(_billed_seconds(leg), price)
        for leg, price in zip(callback.legs, (held.per_minute_a, held.per_minute_b), strict=True)
    )
    return [
        update_row(at_once(callback.tenant), _add(-1)),
        update_row(spend(callback.tenant, held.currency, held.day), _add(used - held.micros)),
    ]


def _add(amount: int) -> Expression:
    return Expression("ADD used :amount", {":amount": amount})


def _billed_seconds(leg: Leg) -> int:
    """What the carrier counted; before it told, what its events say. A call of which nobody ever
    heard may have been answered, and was hung up at once then."""
    if leg.outcome is LegOutcome.DIAL_OUTCOME_UNKNOWN:
        return max(1, leg.seconds or 0)
    if leg.answered_at is None or leg.ended_at is None:
        return leg.seconds or 0
    if leg.seconds is None:
        return max(1, int((leg.ended_at - leg.answered_at).total_seconds()))
    return max(1, leg.seconds)
