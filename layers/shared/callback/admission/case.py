"""A callback to decide, with the inputs of the rules."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from callback import errors
from callback.admission.party import Party
from callback.amounts import Rate, decimal
from callback.errors import CallbackError
from callback.lifecycle.models import Callback, LegName, Reservation
from callback.numbering import addresses, phone_numbers
from callback.numbering.destinations import Telephone
from callback.storage import counters
from callback.storage.counters import Condition, Counter
from callback.storage.table import ABSENT, Key, Row, check_row
from callback.tenancy import numbers
from callback.tenancy.numbers import TenantNumber
from callback.tenancy.policy import Policy, Standing
from callback.tenancy.suppression import SuppressionList
from callback.webhooks import endpoints

# Seconds for Retry-After. An estimate: nobody can know when a conversation ends.
_AT_ONCE_RETRY = 10


@dataclass(frozen=True)
class Admitted:
    """An admitted callback.

    `callback` has its caller IDs and its reservation.
    `conditions` belong into the transaction that stores it.
    `headers` report the rest of the tenant's rates.
    `zones`: for each party, the time zones whose calling window applies. None: any hour.
    """

    callback: Callback
    conditions: tuple[Condition, ...]
    headers: dict[str, str]
    parties: tuple[Party, Party]
    zones: tuple[tuple[str, ...] | None, tuple[str, ...] | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A callback to decide, with the rules' inputs. The first rule that needs `rows` reads them."""

    planned: Callback
    standing: Standing
    parties: tuple[Party, Party]
    home_region: str
    sip_domain: str
    currency: str
    suppression: SuppressionList
    read: Callable[[list[Key]], dict[Key, Row]]

    @property
    def tenant(self) -> str:
        return self.planned.tenant

    @property
    def now(self) -> datetime:
        return self.planned.created_at

    @property
    def policy(self) -> Policy:
        return self.standing.policy

    @cached_property
    def rows(self) -> dict[Key, Row]:
        """Every row that a rule may need, by its key. One batch of reads."""
        keys = [numbers.key(number) for number in self._numbers()]
        keys += [key for party in self.parties for key in self.suppression_keys(party)]
        keys += [counter.key for counter in self._countable()]
        if self.planned.webhook:
            keys.append(endpoints.key(self.tenant))
        return self.read(keys)

    def telephones(self) -> Iterator[tuple[Party, Telephone]]:
        """Each telephone that may ring, with its party."""
        for party in self.parties:
            for telephone in party.destination.telephones:
                yield party, telephone

    def _numbers(self) -> Iterator[str]:
        for party in self.parties:
            yield from party.numbers
            yield from phone_numbers.telephones(party.leg.caller_id, self.home_region)
        if self.policy.fallback_caller_id:
            yield self.policy.fallback_caller_id

    def owner(self, number: str) -> TenantNumber | None:
        row = self.rows.get(numbers.key(number))
        return numbers.from_row(row) if row else None

    def belongs_to_tenant(self, number: str) -> bool:
        """Whether the tenant has it: its own at the carrier, or a verified caller ID."""
        owner = self.owner(number)
        return owner is not None and owner.tenant == self.tenant

    def suppression_keys(self, party: Party) -> list[Key]:
        """The row for each notation of the party, and for each telephone that it may reach."""
        to = party.leg.to
        return self.suppression.keys(
            self.tenant,
            to,
            addresses.dial_target(to, self.sip_domain),
            addresses.user_part(to),
            home=self.home_region,
        )

    # -- caller IDs --------------------------------------------------------------------------------

    @cached_property
    def caller_ids(self) -> tuple[str, str]:
        """The caller IDs shown to A and to B. Raises CallerIdNotAllowed."""
        a, b = self.parties
        return self._caller_id(a, b), self._caller_id(b, a)

    def _caller_id(self, party: Party, other: Party) -> str:
        requested, fallback = party.leg.caller_id, self.policy.fallback_caller_id
        if requested:
            if self._may_show(requested, party):
                return requested
            raise errors.CallerIdNotAllowed(
                f"leg_{party.name}.from must be a number of yours, owned or verified. Omit it, or"
                f" ask your operator to run `put-number {self.tenant} <number>`.",
                leg=party.name,
            )
        if self._may_show(other.leg.to, party):
            return other.leg.to
        if fallback and self.belongs_to_tenant(fallback):
            return fallback
        raise errors.CallerIdNotAllowed(
            f"There is no caller ID for leg_{party.name}. Set leg_{party.name}.from to a number of"
            f" yours, or ask your operator to run `put-number {self.tenant} <number>` and"
            f" `set-policy {self.tenant} fallback_caller_id=<number>`.",
            leg=party.name,
        )

    def _may_show(self, address: str, party: Party) -> bool:
        # The carrier shows only telephone numbers to a telephone (Twilio error 21212).
        # A PBX also shows its own extensions.
        if addresses.is_number(party.leg.to) and not addresses.is_number(
            addresses.user_part(address)
        ):
            return False
        numbers = phone_numbers.telephones(address, self.home_region)
        if numbers:
            return all(map(self.belongs_to_tenant, numbers))
        return self.policy.any_caller_id_extension and not party.destination.is_telephone

    # -- calling window ----------------------------------------------------------------------------

    def zones(self, party: Party) -> tuple[str, ...] | None:
        """The time zones whose calling window applies to the party. None: any hour."""
        if self.policy.calling_window is None or self._is_own_person(party):
            return None
        if party.destination.is_telephone:
            return party.destination.zones
        return (self.policy.pbx_zone,) if self.policy.pbx_zone else None

    def _is_own_person(self, party: Party) -> bool:
        """Whether the tenant's own people answer: each telephone that may ring is the tenant's."""
        return party.destination.is_telephone and all(map(self.belongs_to_tenant, party.numbers))

    # -- limits ------------------------------------------------------------------------------------

    @cached_property
    def maximum_cost(self) -> int:
        return sum(party.maximum_cost for party in self.parties)

    @cached_property
    def counters(self) -> list["_Counter"]:
        """The counters that this callback raises. The tenant's own people are not counted."""
        exempt = {party.name for party in self.parties if self._is_own_person(party)}
        return counters.merge_counters(c for c in self._countable() if c.leg not in exempt)

    def used(self, counter: Counter) -> int:
        return int(self.rows.get(counter.key, {}).get("used", 0))

    def _countable(self) -> Iterator["_Counter"]:
        yield _Counter(
            key=counters.at_once(self.tenant),
            amount=1,
            limit=self.policy.concurrent_callbacks,
            refusal=errors.TooManyAtOnce(
                f"At most {self.policy.concurrent_callbacks} callbacks may be open at once. Wait"
                " until one has ended.",
                headers={"Retry-After": str(_AT_ONCE_RETRY)},
            ),
        )
        yield from self._rates("tenant", self.policy.calls_per_tenant, errors.TooManyCallbacks)
        for party in self.parties:
            if party.destination.is_telephone:
                numbers, prefixes = self.policy.calls_per_number, self.policy.calls_per_prefix
                yield from self._rates("number", numbers, errors.TooManyCallsToNumber, party)
                yield from self._rates("prefix", prefixes, errors.TooManyCallsToPrefix, party)
        yield self._spend()

    def _rates(
        self,
        name: str,
        rates: tuple[Rate, ...],
        refusal: type[CallbackError],
        party: Party | None = None,
    ) -> Iterator["_Counter"]:
        whose = party.hashes[name] if party else ""
        for rate in rates:
            _, ends = counters.window(rate, self.now)
            seconds = _seconds_until(ends, self.now)
            members = {"leg": party.name} if party else {}
            yield _Counter(
                key=counters.calls(self.tenant, f"{name}#{whose}", rate, self.now),
                amount=1,
                limit=rate.count,
                refusal=refusal(
                    f"At most {rate.count} are allowed in {rate.seconds} s. Wait {seconds} s.",
                    headers={"Retry-After": str(seconds)},
                    **members,
                ),
                until=ends + timedelta(days=1),
                rate=(f"{name}-{rate.seconds}", rate, seconds),
                leg=party.name if party else None,
            )

    def _spend(self) -> "_Counter":
        cap, day = self.policy.daily_spend, self.now.date().isoformat()
        return _Counter(
            key=counters.spend(self.tenant, self.currency, day),
            amount=self.maximum_cost,
            # A cap in another currency than the price table's allows nothing.
            limit=cap.micros if cap.currency == self.currency else 0,
            refusal=errors.SpendCapReached(
                f"The callback may cost {decimal(self.maximum_cost)} {self.currency}, more than the"
                f" rest of the daily budget of {cap}. Shorten max_duration_seconds, or wait for the"
                " next day (UTC)."
            ),
            until=counters.spend_expires_at(day),
        )

    # -- the result --------------------------------------------------------------------------------

    def rate_headers_if_read(self) -> dict[str, str]:
        """`rate_headers` if a rule has read `rows`; else empty, so that a refusal costs no read."""
        return self.rate_headers() if "rows" in self.__dict__ else {}

    def rate_headers(self, *, taking: int = 0) -> dict[str, str]:
        """The rest of the tenant's rates, after `taking` more of each
        (draft-ietf-httpapi-ratelimit-headers-10)."""
        tenant_rates = [(c, *c.rate) for c in self.counters if c.rate and c.leg is None]
        if not tenant_rates:
            return {}
        return {
            "RateLimit-Policy": ", ".join(
                f'"{name}";q={rate.count};w={rate.seconds}' for _, name, rate, _ in tenant_rates
            ),
            "RateLimit": ", ".join(
                f'"{name}";r={max(0, counter.limit - self.used(counter) - taking)};t={seconds}'
                for counter, name, _, seconds in tenant_rates
            ),
        }

    def admitted(self) -> Admitted:
        a, b = self.parties
        headers = self.rate_headers(taking=1)
        for counter in self.counters:
            counter.refusal.headers |= self.rate_headers()
        caller_id_a, caller_id_b = self.caller_ids
        callback = replace(
            self.planned,
            leg_a=replace(self.planned.leg_a, caller_id=caller_id_a),
            leg_b=replace(self.planned.leg_b, caller_id=caller_id_b),
            reservation=Reservation(
                day=self.now.date().isoformat(),
                currency=self.currency,
                micros=self.maximum_cost,
                per_minute_a=a.per_minute,
                per_minute_b=b.per_minute,
            ),
        )
        conditions = [counter.condition() for counter in self.counters]
        conditions += [
            Condition(check_row(key, ABSENT), suppression_refusal(party))
            for key, party in self._parties_by_suppression_key().items()
        ]
        return Admitted(
            callback, tuple(conditions), headers, self.parties, (self.zones(a), self.zones(b))
        )

    def _parties_by_suppression_key(self) -> dict[Key, Party]:
        """Each row once, because a transaction may check a row only once.

        The parties share a row if one's number is the user of the other's sip: address. The
        refusal then names A.
        """
        return {
            key: party for party in reversed(self.parties) for key in self.suppression_keys(party)
        }


@dataclass(frozen=True, kw_only=True)
class _Counter(Counter):
    """`rate`: (name, rate, seconds until its window ends) if the counter belongs to a rate.
    `leg`: the leg whose number is counted; None if the tenant's callbacks are."""

    rate: tuple[str, Rate, int] | None = None
    leg: LegName | None = None


def suppression_refusal(party: Party) -> CallbackError:
    return errors.Suppressed(
        "Do not call this party again unless it opts in by texting START to your number.",
        leg=party.name,
    )


def _seconds_until(moment: datetime, now: datetime) -> int:
    return max(1, -int(-(moment - now).total_seconds() // 1))
