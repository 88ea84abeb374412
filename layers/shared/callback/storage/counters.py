"""Counters that never exceed their limit: concurrent callbacks, calls per window, money per day.

Each counter is a row with a number, `used`. The transaction that stores a callback raises it, on
condition that the limit holds. A callback is therefore stored and counted, or neither, under any
concurrency and after any crash. The callback's reservation (one concurrent callback, and its
money) is released in the transaction that marks it as released.

A large limit is divided among up to 64 rows, the counter's shards. DynamoDB refuses a transaction
that meets another on a row, and a transaction holds its rows for some 15 ms: a single row takes
some 20 transactions a second.

* Each shard has a part of the limit. The parts add up to the limit, so it holds whatever any two
  transactions know of each other.
* A callback takes a shard at random. If that one has no room, all are read. Several shards
  together take an amount for which none alone has room. A callback is refused only if the whole
  counter has no room for it.
* A reservation remembers its shards and is given back to them.
* Shard 0 is the row of a limit that is not divided. If it has used more than its part, because
  the limit was not divided before, the other shards take less.

If an operator raises a limit, no part becomes smaller: the new limit holds at once. If he lowers
it, nothing is taken back. From then on each remaining shard counts up to its smaller part. What
the other shards have counted before is not seen. It disappears with its callbacks, its window or
its day.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from callback import randomness
from callback.amounts import MICROS, Rate
from callback.errors import CallbackError, StoreContended
from callback.lifecycle.models import Callback, Leg, LegOutcome, Reservation
from callback.storage.table import Expression, Key, Write, update_row

_SHARDS = 64

# The largest limits that are not divided. A tenant who has 100 callbacks at once, of 20 s or
# longer, starts 5 a second.
UNDIVIDED_COUNT = 100
UNDIVIDED_MONEY = 50 * MICROS

# Each attempt finds other shards, so another callback is counted each time that one fails.
_ATTEMPTS = 12

# The last callbacks of a day release their money long before this.
_SPEND_RETENTION = timedelta(days=7)

_Result = TypeVar("_Result")


class ShardFilled(StoreContended):
    """Others have filled a shard since it was read. Another shard may have room."""


class Condition(NamedTuple):
    """A write of the transaction that stores a callback, and the refusal if that write fails."""

    write: Write
    refusal: CallbackError


@dataclass(frozen=True)
class Counter:
    """`amount` is one callback's share of `limit`. The row expires at `until`.

    `undivided`: a larger limit is divided.
    `lane`: a random number from 0 to 1, exclusive, that selects the shard. With the same for all
    counters of a callback, two callbacks meet in one of 64 cases and not in one of 64 for each.
    """

    key: Key
    amount: int
    limit: int
    refusal: CallbackError
    until: datetime | None = None
    undivided: int = UNDIVIDED_COUNT
    lane: float = 0.0

    @property
    def shards(self) -> int:
        return max(1, min(_SHARDS, -(-self.limit // self.undivided)))

    @property
    def preferred(self) -> int:
        """The callback's shard, if that has room."""
        return int(self.lane * min(_SHARDS, self.limit / self.undivided))

    @property
    def first_read(self) -> dict[int, Key]:
        """The rows without which nothing can be decided, by shard."""
        return {shard: shard_key(self.key, shard) for shard in sorted({0, self.preferred})}

    @property
    def rows(self) -> dict[int, Key]:
        """All rows, by shard."""
        return {shard: shard_key(self.key, shard) for shard in range(self.shards)}

    def room(self, used: Mapping[int, int]) -> dict[int, int]:
        """What is left of each shard in `used`. Negative: it has used more than its part."""
        return {shard: self._part(shard, used[0]) - each for shard, each in used.items()}

    def shares(self, used: Mapping[int, int]) -> dict[int, int]:
        """The amounts by the shards that take them, if the shards in `used` decide it.

        Empty: there is no room, or `used` lacks some of `rows`.
        """
        room = self.room(used)
        if room[self.preferred] >= self.amount:
            return {self.preferred: self.amount}
        if len(used) < self.shards:
            return {}
        sufficient = [shard for shard, left in room.items() if left >= self.amount]
        if sufficient:
            return {randomness.source.choice(sufficient): self.amount}
        return _divide(self.amount, room)

    def conditions(self, shares: Mapping[int, int], used: Mapping[int, int]) -> list[Condition]:
        """The writes that count `shares`, for which `used` has room."""
        full = ShardFilled("Too many concurrent requests. Nothing was stored. Send it again.")
        refusal = self.refusal if self.shards == 1 else full
        return [
            Condition(self._count(shard, amount, self._part(shard, used[0])), refusal)
            for shard, amount in shares.items()
        ]

    def _count(self, shard: int, amount: int, part: int) -> Write:
        change = _add(amount)
        if self.until:
            change = Expression(
                f"{change.text} SET #ttl = :ttl",
                {**change.values, ":ttl": int(self.until.timestamp())},
                {"#ttl": "ttl"},
            )
        within = Expression("attribute_not_exists(used) OR used <= :room", {":room": part - amount})
        return update_row(shard_key(self.key, shard), change, within)

    def _part(self, shard: int, used_in_0: int) -> int:
        """The shard's part of the limit. `used_in_0` is more than shard 0's if that row is older
        than the division."""
        first = self._even_part(0)
        if shard == 0:
            return first
        left = max(0, self.limit - max(first, used_in_0))
        return self._even_part(shard) * left // (self.limit - first)

    def _even_part(self, shard: int) -> int:
        """No part is smaller under a larger limit: the parts grow in number first, then in size."""
        if self.limit <= self.undivided * _SHARDS:
            return max(0, min(self.undivided, self.limit - shard * self.undivided))
        part, rest = divmod(self.limit, _SHARDS)
        return part + (shard < rest)


def _divide(amount: int, room: Mapping[int, int]) -> dict[int, int]:
    """The amount, divided among the shards with the most room. Empty: all together lack room."""
    shares = {}
    for shard in sorted(room, key=lambda each: -room[each]):
        shares[shard] = min(amount, room[shard])
        amount -= shares[shard]
        if amount == 0:
            return shares
        if room[shard] <= 0:
            break
    return {}


def in_other_shards(store: Callable[[], _Result]) -> _Result:
    """Call `store` until no ShardFilled. It reads the shards each time. Raises the last one."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return store()
        except ShardFilled:
            continue
    return store()


_Each = TypeVar("_Each", bound=Counter)


def merge_counters(counters: Iterable[_Each]) -> list[_Each]:
    """One counter per row: a transaction may write a row only once."""
    by_row: dict[Key, _Each] = {}
    for counter in counters:
        before = by_row.get(counter.key)
        amount = counter.amount + (before.amount if before else 0)
        by_row[counter.key] = replace(counter, amount=amount)
    return list(by_row.values())


def shard_key(key: Key, shard: int) -> Key:
    """Each shard has a partition of its own: DynamoDB limits the writes of one partition."""
    pk, sk = key
    return (f"{pk}#SHARD#{shard}", sk) if shard else key


def at_once(tenant: str) -> Key:
    return f"LIMIT#{tenant}", "AT-ONCE"


def waiting(tenant: str) -> Key:
    return f"LIMIT#{tenant}", "WAITING"


def stop_waiting(callback: Callback) -> list[Write]:
    """The write that gives back the place of a callback that waited to be started."""
    if callback.waiting_place is None:
        return []
    return [update_row(shard_key(waiting(callback.tenant), callback.waiting_place), _add(-1))]


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
    """The writes that release the unused part of an ended callback's reservation, and the place of
    one that was never started."""
    reservation = callback.reservation
    if reservation is None:
        return stop_waiting(callback)
    prices = reservation.per_minute_a, reservation.per_minute_b
    used = sum(
        cost(_billed_seconds(leg), price) for leg, price in zip(callback.legs, prices, strict=True)
    )
    day = spend(callback.tenant, reservation.currency, reservation.day)
    place = shard_key(at_once(callback.tenant), reservation.at_once_shard or 0)
    return [
        update_row(place, _add(-1)),
        *(
            update_row(shard_key(day, shard), _add(-amount))
            for shard, amount in _unused(reservation, used).items()
        ),
    ]


def _unused(reservation: Reservation, used: int) -> dict[int, int]:
    """The money to give back, by shard. Negative: the calls cost more than was reserved."""
    shares = reservation.spend_shares or {"0": reservation.micros}
    left = reservation.micros - used
    unused = {}
    for shard, amount in shares.items():
        unused[int(shard)] = min(left, int(amount))
        left -= unused[int(shard)]
    return unused


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
