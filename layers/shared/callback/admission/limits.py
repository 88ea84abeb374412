"""The limits on a callback: concurrent callbacks, rates, and money per day.

Each limit is a counter (see `counters`). `Limits` says which counters there are, before any row is
read; `Usage` compares them with their rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from callback import errors, randomness
from callback.admission.party import Party
from callback.amounts import Rate, decimal
from callback.errors import CallbackError
from callback.lifecycle.models import Callback, LegName
from callback.storage import counters
from callback.storage.counters import Condition, Counter
from callback.storage.table import Key, Row
from callback.tenancy.policy import Policy

# Seconds for Retry-After. An estimate: nobody can know when a conversation ends.
_AT_ONCE_RETRY = 10


# Refusals by limits that may be full only for a while. A callback may wait for them.
LIMIT_REFUSALS = (
    errors.TooManyAtOnce,
    errors.TooManyCallbacks,
    errors.TooManyCallsToNumber,
    errors.TooManyCallsToPrefix,
)


@dataclass(frozen=True, kw_only=True)
class LimitCounter(Counter):
    """`rate`: (name, rate, seconds until its window ends) if the counter belongs to a rate.
    `leg`: the leg whose number is counted; None if the tenant's callbacks are."""

    rate: tuple[str, Rate, int] | None = None
    leg: LegName | None = None


@dataclass(frozen=True, eq=False)
class Limits:
    """The limits that the policy sets on a callback. `currency` is the price table's."""

    planned: Callback
    policy: Policy
    parties: tuple[Party, Party]
    currency: str

    @cached_property
    def counters(self) -> tuple[LimitCounter, ...]:
        """One for each limit, in the order in which they refuse."""
        return self._at_once(), *self._all_rates(), self._spend()

    @cached_property
    def _lane(self) -> float:
        return randomness.source.random()

    @property
    def maximum_cost(self) -> int:
        """In millionths of `currency`."""
        return sum(party.maximum_cost for party in self.parties)

    def _at_once(self) -> LimitCounter:
        limit = self.policy.concurrent_callbacks
        return LimitCounter(
            key=counters.at_once(self.planned.tenant),
            amount=1,
            limit=limit,
            refusal=errors.TooManyAtOnce(
                f"At most {limit} callbacks may be open at once. Wait until one has ended.",
                headers={"Retry-After": str(_AT_ONCE_RETRY)},
            ),
            lane=self._lane,
        )

    def _all_rates(self) -> Iterator[LimitCounter]:
        yield from self._rates("tenant", self.policy.calls_per_tenant, errors.TooManyCallbacks)
        for party in self.parties:
            if party.destination.is_telephone:
                numbers, prefixes = self.policy.calls_per_number, self.policy.calls_per_prefix
                yield from self._rates("number", numbers, errors.TooManyCallsToNumber, party)
                yield from self._rates("prefix", prefixes, errors.TooManyCallsToPrefix, party)

    def _rates(
        self,
        name: str,
        rates: tuple[Rate, ...],
        refusal: type[CallbackError],
        party: Party | None = None,
    ) -> Iterator[LimitCounter]:
        tenant, now = self.planned.tenant, self.planned.created_at
        whose = party.hashes[name] if party else ""
        for rate in rates:
            _, ends = counters.window(rate, now)
            seconds = _seconds_until(ends, now)
            members = {"leg": party.name} if party else {}
            yield LimitCounter(
                key=counters.calls(tenant, f"{name}#{whose}", rate, now),
                amount=1,
                limit=rate.count,
                refusal=refusal(
                    f"At most {rate.count} are allowed in {rate.seconds} s. Wait {seconds} s.",
                    headers={"Retry-After": str(seconds)},
                    **members,
                ),
                until=ends + timedelta(days=1),
                lane=self._lane,
                rate=(f"{name}-{rate.seconds}", rate, seconds),
                leg=party.name if party else None,
            )

    def _spend(self) -> LimitCounter:
        cap, day = self.policy.daily_spend, self.planned.created_at.date().isoformat()
        return LimitCounter(
            key=counters.spend(self.planned.tenant, self.currency, day),
            amount=self.maximum_cost,
            # A cap in another currency than the price table's allows nothing.
            limit=cap.micros if cap.currency == self.currency else 0,
            refusal=errors.SpendCapReached(
                f"The callback may cost {decimal(self.maximum_cost)} {self.currency}, more than the"
                f" rest of the daily budget of {cap}. Shorten max_duration_seconds, or wait for the"
                " next day (UTC)."
            ),
            until=counters.spend_expires_at(day),
            undivided=counters.UNDIVIDED_MONEY,
            lane=self._lane,
        )


@dataclass(frozen=True, eq=False)
class Usage:
    """The counters that a callback raises, and their rows as they were read.

    `rows` has each counter's `first_read`. `read` is for the other rows of a counter whose
    preferred shard has no room.
    """

    counters: list[LimitCounter]
    rows: dict[Key, Row]
    read: Callable[[list[Key]], dict[Key, Row]]
    _shares: dict[Key, dict[int, int]] = field(default_factory=dict)
    _read_whole: set[Key] = field(default_factory=set)

    def refuse_exceeded(self) -> None:
        """Raises the refusal of the first counter that this callback would exceed."""
        for counter in self.counters:
            if not self._shares_of(counter):
                raise counter.refusal

    def rate_headers(self, *, taking: int = 0) -> dict[str, str]:
        """The rest of the tenant's rates, after `taking` more of each
        (draft-ietf-httpapi-ratelimit-headers-10).

        Of a rate that is divided among shards, at least the rest of those that were read. When
        it is refused, all were.
        """
        tenant_rates = [(c, *c.rate) for c in self.counters if c.rate and c.leg is None]
        if not tenant_rates:
            return {}
        return {
            "RateLimit-Policy": ", ".join(
                f'"{name}";q={rate.count};w={rate.seconds}' for _, name, rate, _ in tenant_rates
            ),
            "RateLimit": ", ".join(
                f'"{name}";r={max(0, self._room(counter) - taking)};t={seconds}'
                for counter, name, _, seconds in tenant_rates
            ),
        }

    def conditions(self) -> list[Condition]:
        """The writes that count the callback. Their refusals carry the rate headers."""
        headers = self.rate_headers()
        for counter in self.counters:
            counter.refusal.headers |= headers
        return [
            condition
            for counter in self.counters
            for condition in counter.conditions(self._shares_of(counter), self._used(counter))
        ]

    def shares(self, key: Key) -> dict[int, int]:
        """The amounts of the counter with this key, by shard."""
        return next(self._shares_of(counter) for counter in self.counters if counter.key == key)

    def _shares_of(self, counter: Counter) -> dict[int, int]:
        if counter.key not in self._shares:
            shares = counter.shares(self._used(counter))
            if not shares and len(counter.first_read) < counter.shards:
                self.rows.update(self.read([*counter.rows.values()]))
                self._read_whole.add(counter.key)
                shares = counter.shares(self._used(counter))
            self._shares[counter.key] = shares
        return self._shares[counter.key]

    def _room(self, counter: Counter) -> int:
        return sum(max(0, left) for left in counter.room(self._used(counter)).values())

    def _used(self, counter: Counter) -> dict[int, int]:
        """What each of the shards that were read has used."""
        keys = counter.rows if counter.key in self._read_whole else counter.first_read
        return {shard: int(self.rows.get(key, {}).get("used", 0)) for shard, key in keys.items()}


def count_waiting(tenant: str, policy: Policy) -> LimitCounter:
    """The counter of the tenant's callbacks that wait to be started."""
    limit = policy.waiting_callbacks
    return LimitCounter(
        key=counters.waiting(tenant),
        amount=1,
        limit=limit,
        refusal=errors.TooManyWaiting(
            f"At most {limit} callbacks may wait to be started. Wait until some have started.",
            headers={"Retry-After": str(_AT_ONCE_RETRY)},
        ),
        lane=randomness.source.random(),
    )


def _seconds_until(moment: datetime, now: datetime) -> int:
    return max(1, -int(-(moment - now).total_seconds() // 1))
